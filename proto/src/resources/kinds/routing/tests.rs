//! One resource that is wrong for each thing that can be wrong, with the exact words.

use serde_json::{Value, json};

use crate::resources::{API_VERSION, Document, Resources};

fn document(kind: &str, name: &str, spec: Value) -> Document {
    Document {
        origin: "test".into(),
        content: json!({"apiVersion": API_VERSION, "kind": kind, "metadata": {"name": name, "namespace": "acme"}, "spec": spec}),
    }
}

fn problems(documents: &[Document]) -> Vec<String> {
    let (_, problems) = Resources::build(documents, &Resources::default());
    problems
        .into_iter()
        .map(|p| format!("{}: {}", p.resource, p.message))
        .collect()
}

/// `with` replaces fields of a spec that is right.
fn spec(right: Value, with: Value) -> Value {
    let (Value::Object(mut right), Value::Object(with)) = (right, with) else {
        unreachable!("specs are objects")
    };
    right.extend(with);
    Value::Object(right)
}

fn queue(with: Value) -> Vec<String> {
    let right = json!({"serviceLevel": {"targetSeconds": 60, "goal": 0.8}});
    problems(&[document("Queue", "care", spec(right, with))])
}

fn policy(with: Value) -> Vec<String> {
    let care = json!({"serviceLevel": {"targetSeconds": 60, "goal": 0.8}});
    let right = json!({"rules": [], "defaultQueue": "care"});
    problems(&[
        document("Queue", "care", care),
        document("RoutingPolicy", "main", spec(right, with)),
    ])
}

fn rule(with: Value) -> Vec<String> {
    policy(json!({"rules": [spec(json!({"name": "r", "queue": "care"}), with)]}))
}

fn step(step: Value) -> Vec<String> {
    rule(json!({"steps": [step]}))
}

fn hours(with: Value) -> Vec<String> {
    let right = json!({"timeZone": "Europe/Rome", "weekly": {"monday": ["09:00-13:00"]}});
    problems(&[document("BusinessHours", "shop", spec(right, with))])
}

fn overflow(with: Value) -> Vec<String> {
    queue(json!({"overflow": [spec(json!({"when": "!open", "action": "callback"}), with)]}))
}

#[test]
fn what_is_right_has_no_problems() {
    let none: [String; 0] = [];
    assert_eq!(
        queue(json!({"skills": ["care", {"law": 3}], "wrapUpSecondsByChannel": {"voice": 30}})),
        none
    );
    assert_eq!(
        queue(json!({"skills": {"care": 1, "law": 10}, "callback": {"offer": true}})),
        none
    );
    assert_eq!(
        queue(json!({"maxLength": 5, "overflow": [{"when": "full", "action": "voicemail"}]})),
        none
    );
    assert_eq!(
        policy(
            json!({"matching": {"reserve": {"size": {"squareRoot": {"factor": 1.3, "min": 0, "max": 9}}}}})
        ),
        none
    );
    assert_eq!(
        rule(json!({"when": "mood == 'negative' && weekday != 'sunday'", "requireHuman": true})),
        none
    );
    assert_eq!(
        step(json!({"afterSeconds": 30, "relaxLevelsTo": 1, "skills": ["law"]})),
        none
    );
    assert_eq!(
        hours(
            json!({"days": [{"name": "x", "date": "12-24", "through": "01-06"}, {"name": "y", "easter": 1}]})
        ),
        none
    );
}

#[test]
fn a_wrong_queue_says_what_and_where() {
    for (found, message) in [
        (
            queue(json!({"serviceLevel": {"targetSeconds": 0, "goal": 0.8}})),
            "spec.serviceLevel.targetSeconds must be positive",
        ),
        (
            queue(json!({"serviceLevel": {"targetSeconds": 1, "goal": 80}})),
            "spec.serviceLevel.goal must be from 0 to 1",
        ),
        (
            queue(json!({"serviceLevel": {"targetSeconds": "fast", "goal": 0.8}})),
            "spec.serviceLevel.targetSeconds: invalid type: string \"fast\", expected i64",
        ),
        (
            queue(json!({"serviceLevel": {"targetSeconds": 1, "goal": 0.8, "byChannel": {"voice": 0}}})),
            "spec.serviceLevel.byChannel must be positive",
        ),
        (
            queue(json!({"serviceLevel": {"targetSeconds": 1, "goal": 0.8, "goalByChannel": {"voice": 2}}})),
            "spec.serviceLevel.goalByChannel must be from 0 to 1",
        ),
        (
            queue(json!({"wrapUpSecondsByChannel": {"voice": -1}})),
            "spec.wrapUpSecondsByChannel.voice: invalid value: integer `-1`, expected u32",
        ),
        (
            queue(json!({"wrapUpSecondsByChannel": {"fax": 1}})),
            "spec.wrapUpSecondsByChannel.fax: `fax` is not known; it is one of email, whatsapp, voice, webChat, sms, api",
        ),
        (
            queue(json!({"offerTimeoutSeconds": 0})),
            "spec.offerTimeoutSeconds must be positive",
        ),
        (
            queue(json!({"offerTimeoutSecondsByChannel": {"sms": 0}})),
            "spec.offerTimeoutSecondsByChannel must be positive",
        ),
        (
            queue(json!({"idleParkSeconds": 0})),
            "spec.idleParkSeconds must be positive; leave it out so that nothing rests",
        ),
        (
            queue(json!({"preferredAgent": {"shareOfTarget": 2}})),
            "spec.preferredAgent.shareOfTarget must be from 0 to 1",
        ),
        (
            queue(json!({"callback": {"attempts": 0}})),
            "spec.callback.attempts must be positive",
        ),
        (
            queue(json!({"skills": {"law": 11}})),
            "spec.skills: skill `law`: levels go from 1 to 10, not 11",
        ),
        (
            queue(json!({"skills": [{"law": 0}]})),
            "spec.skills: skill `law`: levels go from 1 to 10, not 0",
        ),
        (
            queue(json!({"skills": [""]})),
            "spec.skills: a skill must have a name",
        ),
        (
            queue(json!({"skills": ["a", {"a": 2}]})),
            "spec.skills: skill `a` stands twice",
        ),
        (
            queue(json!({"skills": [3]})),
            "spec.skills[0]: a skill is a name, or a name with a level: `billing` or `billing: 3`",
        ),
        (
            queue(json!({"hours": "shop"})),
            "spec.hours: business hours `shop` does not exist",
        ),
        (
            queue(json!({"maxLength": 5})),
            "spec.maxLength says nothing alone: add an overflow with `when: full`",
        ),
        (
            overflow(json!({"when": "full"})),
            "spec.overflow asks whether the queue is `full`: say from how many on in spec.maxLength",
        ),
        (
            overflow(json!({"when": "lenght > 3"})),
            "spec.overflow[0].when: at character 1: `lenght` is not known here; did you mean `length`?",
        ),
        (
            overflow(json!({"action": "queue"})),
            "spec.overflow[0].queue is missing: which other queue",
        ),
        (
            overflow(json!({"action": "close"})),
            "spec.overflow[0].template is missing: what is the customer told",
        ),
        (
            overflow(json!({"queue": "care"})),
            "spec.overflow[0].queue is only for `action: queue`",
        ),
        (
            overflow(json!({"action": "queue", "queue": "vip"})),
            "spec.overflow[0].queue: queue `vip` does not exist",
        ),
        (
            overflow(json!({"action": "queue", "queue": "care"})),
            "spec.overflow[0].queue: queue `care` would overflow into itself",
        ),
        (
            overflow(json!({"action": "close", "template": "closed"})),
            "spec.overflow[0].template: message template `closed` does not exist",
        ),
        (
            overflow(json!({"when": "intent == 'billing'"})),
            "spec.overflow[0].when: intent `billing` does not exist",
        ),
    ] {
        assert_eq!(found, [format!("Queue/care: {message}")]);
    }
}

#[test]
fn a_wrong_policy_says_what_and_where() {
    for (found, message) in [
        (
            policy(json!({"defaultQueue": "vip"})),
            "spec.defaultQueue: queue `vip` does not exist",
        ),
        (
            policy(json!({"hours": "shop"})),
            "spec.hours: business hours `shop` does not exist",
        ),
        (
            rule(json!({"queue": "vip"})),
            "spec.rules[0].queue: queue `vip` does not exist",
        ),
        (
            rule(json!({"intents": ["billing"]})),
            "spec.rules[0].intents: intent `billing` does not exist",
        ),
        (
            rule(json!({"entitlements": ["gold"]})),
            "spec.rules[0].entitlements: entitlement `gold` does not exist",
        ),
        (
            rule(json!({"when": "entitlement in ['', 'gold']"})),
            "spec.rules[0].when: entitlement `gold` does not exist",
        ),
        (
            rule(json!({"when": "urgency > 'high'"})),
            "spec.rules[0].when: at character 11: `>` compares numbers, this is a text",
        ),
        (
            rule(json!({"when": "channel == 'fax'"})),
            "spec.rules[0].when: at character 12: `channel` is never 'fax'; it is one of email, whatsapp, voice, webChat, sms, api, internal",
        ),
        (
            rule(json!({"minUrgency": 3})),
            "spec.rules[0] `r`: minUrgency must be from 0 to 1",
        ),
        (
            rule(json!({"targetFactor": 0})),
            "spec.rules[0] `r`: targetFactor must be positive",
        ),
        (
            rule(json!({"skills": {"law": 12}})),
            "spec.rules[0] `r`: skills: skill `law`: levels go from 1 to 10, not 12",
        ),
        (
            rule(json!({"requireHuman": true, "agents": "botsFirst"})),
            "spec.rules[0] `r`: requireHuman and agents: botsFirst contradict each other",
        ),
        (
            step(json!({"anyLanguage": true})),
            "spec.rules[0] `r`: steps[0] must have either afterShareOfTarget or afterSeconds",
        ),
        (
            step(json!({"anyLanguage": true, "afterShareOfTarget": -1})),
            "spec.rules[0] `r`: steps[0].afterShareOfTarget must not be negative",
        ),
        (
            step(json!({"afterSeconds": 1, "relaxLevelsBy": 1, "relaxLevelsTo": 1})),
            "spec.rules[0] `r`: steps[0]: relaxLevelsBy and relaxLevelsTo exclude each other",
        ),
        (
            step(json!({"afterSeconds": 1, "relaxLevelsTo": 0})),
            "spec.rules[0] `r`: steps[0].relaxLevelsTo must be from 1 to 10",
        ),
        (
            step(json!({"afterSeconds": 1, "anyTeam": true, "skills": ["law"]})),
            "spec.rules[0] `r`: steps[0].skills says nothing without relaxLevelsBy or relaxLevelsTo",
        ),
        (
            step(json!({"afterSeconds": 1})),
            "spec.rules[0] `r`: steps[0] relaxes nothing: say relaxLevelsTo, dropSkills, openTeams, anyTeam or anyLanguage",
        ),
        (
            policy(json!({"neverRelax": ["law"], "steps": [{"afterSeconds": 1, "dropSkills": ["law"]}]})),
            "spec.steps[0]: skill `law` is in neverRelax",
        ),
        (
            policy(json!({"matching": {"channels": {"voice": {"units": 0, "maxAtOnce": 1}}}})),
            "spec.matching.channels.voice.units must be positive",
        ),
        (
            policy(json!({"matching": {"channels": {"voice": {"units": 6, "maxAtOnce": 0}}}})),
            "spec.matching.channels.voice.maxAtOnce must be positive",
        ),
        (
            policy(
                json!({"matching": {"channels": {"voice": {"units": 6, "maxAtOnce": 1, "interrupts": ["voice"]}}}}),
            ),
            "spec.matching.channels.voice.interrupts names itself",
        ),
        (
            policy(json!({"matching": {"ranking": {"thetaSeconds": 0}}})),
            "spec.matching.ranking.thetaSeconds must be positive",
        ),
        (
            policy(json!({"matching": {"ranking": {"overdueRank": 7}}})),
            "spec.matching.ranking.overdueRank must be from 0 to 1",
        ),
        (
            policy(json!({"matching": {"ranking": {"starvingAfterTargets": 1}}})),
            "spec.matching.ranking.starvingAfterTargets must be more than 1",
        ),
        (
            policy(
                json!({"matching": {"reserve": {"size": {"squareRoot": {"factor": -1, "min": 0, "max": 1}}}}}),
            ),
            "spec.matching.reserve.size.squareRoot.factor must not be negative",
        ),
        (
            policy(
                json!({"matching": {"reserve": {"size": {"squareRoot": {"factor": 1, "min": 2, "max": 1}}}}}),
            ),
            "spec.matching.reserve.size.squareRoot.min is more than max",
        ),
        (
            policy(json!({"matching": {"reserve": {"releaseAtShareOfTarget": -1}}})),
            "spec.matching.reserve.releaseAtShareOfTarget must not be negative",
        ),
        (
            policy(json!({"matching": {"reserve": {"maxShare": 2}}})),
            "spec.matching.reserve.maxShare must be from 0 to 1",
        ),
        (
            policy(json!({"matching": {"reserve": {"urgentLeftSeconds": 0}}})),
            "spec.matching.reserve.urgentLeftSeconds must be positive",
        ),
        (
            policy(json!({"matching": {"ranking": {"answerSeconds": -1}}})),
            "spec.matching.ranking.answerSeconds must not be negative",
        ),
        (
            policy(json!({"matching": {"reserve": {"handleTimeSeconds": 0}}})),
            "spec.matching.reserve.handleTimeSeconds must be positive",
        ),
        (
            policy(json!({"matching": {"steering": {"gain": -1}}})),
            "spec.matching.steering: gain, maxBoost, maxLoan and margin must not be negative",
        ),
        (
            policy(json!({"matching": {"steering": {"memorySeconds": 0}}})),
            "spec.matching.steering.memorySeconds must be positive",
        ),
        (
            policy(json!({"matching": {"offers": {"askAgainAfterSeconds": 0}}})),
            "spec.matching.offers.askAgainAfterSeconds must be positive",
        ),
        (
            policy(json!({"matching": {"offers": {"missedUntilAway": 3}}})),
            "spec.matching.offers.missedUntilAway must be 1 or 2",
        ),
    ] {
        assert_eq!(found, [format!("RoutingPolicy/main: {message}")]);
    }
}

#[test]
fn wrong_hours_say_what_and_where() {
    for (found, message) in [
        (
            hours(json!({"timeZone": "Europe/Roma"})),
            "spec.timeZone: `Europe/Roma` is no time zone of the IANA database; write a name such as Europe/Rome",
        ),
        (
            hours(json!({"weekly": {}})),
            "spec.weekly has no opening time: work would wait for ever",
        ),
        (
            hours(json!({"weekly": {"monday": ["9-13"]}})),
            "spec.weekly.monday[0]: `9-13` is no opening time; write 09:00-13:00",
        ),
        (
            hours(json!({"weekly": {"monday": ["09:00-09:00"]}})),
            "spec.weekly.monday[0]: `09:00-09:00` has no length; the whole day is 00:00-24:00",
        ),
        (
            hours(json!({"weekly": {"monday": ["09:00-13:00", "12:00-18:00"]}})),
            "spec.weekly.monday: 09:00-13:00 and 12:00-18:00 overlap or stand in the wrong order",
        ),
        (
            hours(json!({"days": [{"name": "x", "date": "13-45"}]})),
            "spec.days[0].date: `13-45` is no date; write 2026-08-14, or 12-25 for every year",
        ),
        (
            hours(json!({"days": [{"name": "x"}]})),
            "spec.days[0] must have either date or easter",
        ),
        (
            hours(json!({"days": [{"name": "x", "easter": 300}]})),
            "spec.days[0].easter must be from -100 to 100 days",
        ),
        (
            hours(json!({"days": [{"name": "x", "date": "2026-08-14", "through": "2026-08-01"}]})),
            "spec.days[0].through is before date",
        ),
        (
            hours(json!({"days": [{"name": "x", "date": "2026-08-14", "through": "08-20"}]})),
            "spec.days[0]: date and through must both have a year, or neither",
        ),
        (
            hours(json!({"days": [{"name": "x", "easter": 0, "through": "08-20"}]})),
            "spec.days[0].through needs a date",
        ),
        (
            hours(json!({"days": [{"name": "x", "date": "08-20", "open": ["14:00-18:00", "09:00-13:00"]}]})),
            "spec.days[0].open: 14:00-18:00 and 09:00-13:00 overlap or stand in the wrong order",
        ),
    ] {
        assert_eq!(found, [format!("BusinessHours/shop: {message}")]);
    }
}

#[test]
fn a_wrong_entitlement_says_what_and_where() {
    let entitlement = |spec| problems(&[document("Entitlement", "gold", spec)]);
    assert_eq!(
        entitlement(json!({"targetFactor": -1})),
        ["Entitlement/gold: spec.targetFactor must be positive"]
    );
    assert_eq!(
        entitlement(json!({"members": ["anna"]})),
        ["Entitlement/gold: spec.members are handles such as crm:1001 or email:*@acme.example"]
    );
}
