//! The kinds, their columns, and what `Validate` says beyond the shape.
//!
//! Limits on lists (`maxItems`) and maps stand where a CEL rule runs over them: without one the API server takes the
//! rule for unaffordable and refuses the whole definition. They are far above what anybody writes.

use schemars::{JsonSchema, generate::SchemaSettings};
use serde_json::{Value, json};
use trama_proto::resources::{
    BusinessHoursSpec, ChannelSpec, CustomerSchemaSpec, EntitlementSpec, IntentSpec, Kind as ChannelKind,
    MatchingPolicySpec, MessageTemplateSpec, PersonaSpec, ProofMethod, QueueSpec, RetentionPolicySpec,
    RoutingPolicySpec, SurveySpec, Weekday,
};

use super::{Kind, Rule};

/// All kinds.
pub const KINDS: &[Kind] = &[
    Kind {
        kind: "Channel",
        plural: "channels",
        short: "tch",
        schema: derived::<ChannelSpec>,
        // One of them is filled: which provider it is, and where one reaches it.
        columns: &[
            ("Mail", "string", ".spec.provider.email.from"),
            ("WhatsApp", "string", ".spec.provider.whatsappCloud.phoneNumberId"),
            ("Voice", "string", ".spec.provider.twilioVoice.number"),
            ("SMS", "string", ".spec.provider.twilioSms.number"),
            ("Language", "string", ".spec.language"),
        ],
        rules: channel,
    },
    Kind {
        kind: "Queue",
        plural: "queues",
        short: "tq",
        schema: derived::<QueueSpec>,
        columns: &[
            ("Target", "integer", ".spec.serviceLevel.targetSeconds"),
            ("Goal", "number", ".spec.serviceLevel.goal"),
            ("Hours", "string", ".spec.hours"),
            ("Priority", "integer", ".spec.priority"),
        ],
        rules: queue,
    },
    Kind {
        kind: "RoutingPolicy",
        plural: "routingpolicies",
        short: "trp",
        schema: derived::<RoutingPolicySpec>,
        columns: &[
            ("Default", "string", ".spec.defaultQueue"),
            ("Hours", "string", ".spec.hours"),
        ],
        rules: routing_policy,
    },
    Kind {
        kind: "BusinessHours",
        plural: "businesshours",
        short: "tbh",
        schema: derived::<BusinessHoursSpec>,
        columns: &[("Zone", "string", ".spec.timeZone")],
        rules: business_hours,
    },
    Kind {
        kind: "Entitlement",
        plural: "entitlements",
        short: "tent",
        schema: derived::<EntitlementSpec>,
        columns: &[
            ("Default", "boolean", ".spec.default"),
            ("Priority", "integer", ".spec.priority"),
            ("Factor", "number", ".spec.targetFactor"),
        ],
        rules: entitlement,
    },
    Kind {
        kind: "Intent",
        plural: "intents",
        short: "tint",
        schema: derived::<IntentSpec>,
        columns: &[
            ("Urgency", "number", ".spec.urgency"),
            ("Self-Service", "boolean", ".spec.selfService"),
            ("Level", "integer", ".spec.verificationLevel"),
        ],
        rules: intent,
    },
    Kind {
        kind: "Survey",
        plural: "surveys",
        short: "tsv",
        schema: derived::<SurveySpec>,
        columns: &[
            ("Trigger", "string", ".spec.trigger"),
            ("Sample", "number", ".spec.sampleRate"),
            ("Questions", "string", ".spec.questions[*].measures"),
        ],
        rules: survey,
    },
    Kind {
        kind: "MessageTemplate",
        plural: "messagetemplates",
        short: "tmt",
        schema: derived::<MessageTemplateSpec>,
        columns: &[("WhatsApp", "string", ".spec.whatsappTemplate")],
        rules: message_template,
    },
    Kind {
        kind: "Persona",
        plural: "personas",
        short: "tper",
        schema: derived::<PersonaSpec>,
        columns: &[
            ("Assistant", "string", ".spec.assistantName"),
            ("Default", "boolean", ".spec.default"),
        ],
        rules: persona,
    },
    Kind {
        kind: "MatchingPolicy",
        plural: "matchingpolicies",
        short: "tmatch",
        schema: derived::<MatchingPolicySpec>,
        columns: &[("Country", "string", ".spec.defaultCountryCode")],
        rules: matching_policy,
    },
    Kind {
        kind: "CustomerSchema",
        plural: "customerschemas",
        short: "tcs",
        schema: derived::<CustomerSchemaSpec>,
        columns: &[("Webhook", "string", ".spec.webhook.url")],
        rules: customer_schema,
    },
    Kind {
        kind: "RetentionPolicy",
        plural: "retentionpolicies",
        short: "tret",
        schema: derived::<RetentionPolicySpec>,
        columns: &[
            ("Cases", "integer", ".spec.keepDays.cases"),
            ("Messages", "integer", ".spec.keepDays.messages"),
        ],
        rules: Vec::new,
    },
];

fn derived<T: JsonSchema>() -> Value {
    SchemaSettings::draft2020_12()
        .with(|settings| {
            // A cluster knows no $ref.
            settings.inline_subschemas = true;
            settings.meta_schema = None;
        })
        .into_generator()
        .into_root_schema_for::<T>()
        .to_value()
}

fn rule(at: &'static str, says: Value) -> Rule {
    Rule { at, says }
}

fn cel(at: &'static str, expression: &str, message: &str) -> Rule {
    rule(
        at,
        json!({"x-kubernetes-validations": [{"rule": expression, "message": message}]}),
    )
}

fn share(at: &'static str) -> Rule {
    rule(at, json!({"minimum": 0, "maximum": 1}))
}

fn at_least(at: &'static str, least: i32) -> Rule {
    rule(at, json!({"minimum": least}))
}

/// OpenAPI 3.0: `exclusiveMinimum` is a flag on `minimum`.
fn above(at: &'static str, bound: i32) -> Rule {
    rule(at, json!({"minimum": bound, "exclusiveMinimum": true}))
}

fn not_empty(at: &'static str) -> Rule {
    rule(at, json!({"minProperties": 1}))
}

fn url(at: &'static str) -> Rule {
    rule(at, json!({"pattern": "^https?://"}))
}

fn by_channel(at: &'static str) -> Rule {
    rule(at, json!({"keys": ChannelKind::ALL.map(ChannelKind::name)}))
}

fn channel() -> Vec<Rule> {
    let phone = "^\\+[0-9]{6,15}$";
    vec![
        rule("brand", json!({"pattern": "^[a-z0-9_-]{0,63}$"})),
        rule("provider.email.addresses", json!({"minItems": 1})),
        rule("provider.email.addresses[]", json!({"pattern": "@"})),
        rule("provider.email.relay", json!({"pattern": "^.+:[0-9]{1,5}$"})),
        cel(
            "provider.email",
            "has(self.relayUser) == has(self.relayPassword)",
            "relayUser and relayPassword go together",
        ),
        rule("provider.whatsappCloud.phoneNumberId", json!({"minLength": 1})),
        url("provider.whatsappCloud.apiBaseUrl"),
        rule("provider.twilioVoice.number", json!({"pattern": phone})),
        url("provider.twilioVoice.apiBaseUrl"),
        url("provider.twilioVoice.publicBaseUrl"),
        rule("provider.twilioSms.number", json!({"pattern": phone})),
        url("provider.twilioSms.apiBaseUrl"),
        url("provider.twilioSms.publicBaseUrl"),
        rule("provider.webChat.allowedOrigins", json!({"minItems": 1})),
    ]
}

fn queue() -> Vec<Rule> {
    vec![
        at_least("serviceLevel.targetSeconds", 1),
        share("serviceLevel.goal"),
        at_least("serviceLevel.byChannel{}", 1),
        by_channel("serviceLevel.byChannel"),
        share("serviceLevel.goalByChannel{}"),
        by_channel("serviceLevel.goalByChannel"),
        at_least("offerTimeoutSeconds", 1),
        at_least("offerTimeoutSecondsByChannel{}", 1),
        by_channel("offerTimeoutSecondsByChannel"),
        by_channel("wrapUpSecondsByChannel"),
        at_least("idleParkSeconds", 1),
        share("preferredAgent.shareOfTarget"),
        at_least("callback.attempts", 1),
        rule("overflow", json!({"maxItems": 50})),
        cel(
            "overflow[]",
            "(self.action == 'queue') == has(self.queue)",
            "`action: queue` names the other queue, no other action does",
        ),
        cel(
            "overflow[]",
            "self.action != 'close' || has(self.template)",
            "template is missing: what is the customer told",
        ),
        cel(
            "",
            "!has(self.maxLength) || (has(self.overflow) && self.overflow.exists(o, o.when.contains('full')))",
            "maxLength says nothing alone: add an overflow with `when: full`",
        ),
    ]
}

/// What holds for a step, wherever it stands.
fn steps(list: &'static str, step: &'static str, share: &'static str, level: &'static str) -> Vec<Rule> {
    vec![
        rule(list, json!({"maxItems": 20})),
        cel(
            step,
            "has(self.afterShareOfTarget) != has(self.afterSeconds)",
            "a step has either afterShareOfTarget or afterSeconds",
        ),
        cel(
            step,
            "!has(self.relaxLevelsBy) || !has(self.relaxLevelsTo)",
            "relaxLevelsBy and relaxLevelsTo exclude each other",
        ),
        at_least(share, 0),
        rule(level, json!({"minimum": 1, "maximum": 10})),
    ]
}

fn routing_policy() -> Vec<Rule> {
    let mut rules = steps(
        "steps",
        "steps[]",
        "steps[].afterShareOfTarget",
        "steps[].relaxLevelsTo",
    );
    rules.extend(steps(
        "rules[].steps",
        "rules[].steps[]",
        "rules[].steps[].afterShareOfTarget",
        "rules[].steps[].relaxLevelsTo",
    ));
    rules.extend([
        rule("rules", json!({"maxItems": 500})),
        share("rules[].minUrgency"),
        above("rules[].targetFactor", 0),
        cel(
            "rules[]",
            "!(has(self.requireHuman) && self.requireHuman && has(self.agents) && self.agents == 'botsFirst')",
            "requireHuman and agents: botsFirst contradict each other",
        ),
        at_least("matching.channels{}.units", 1),
        at_least("matching.channels{}.maxAtOnce", 1),
        by_channel("matching.channels"),
        above("matching.ranking.thetaSeconds", 0),
        at_least("matching.ranking.answerSeconds", 0),
        share("matching.ranking.overdueRank"),
        above("matching.ranking.starvingAfterTargets", 1),
        at_least("matching.reserve.size.squareRoot.factor", 0),
        cel("matching.reserve.size.squareRoot", "self.min <= self.max", "min is more than max"),
        at_least("matching.reserve.releaseAtShareOfTarget", 0),
        share("matching.reserve.maxShare"),
        above("matching.reserve.urgentLeftSeconds", 0),
        above("matching.reserve.handleTimeSeconds", 0),
        at_least("matching.steering.gain", 0),
        at_least("matching.steering.maxBoost", 0),
        at_least("matching.steering.maxLoan", 0),
        at_least("matching.steering.margin", 0),
        above("matching.steering.memorySeconds", 0),
        at_least("matching.offers.askAgainAfterSeconds", 1),
        rule("matching.offers.missedUntilAway", json!({"minimum": 1, "maximum": 2})),
    ]);
    rules
}

fn business_hours() -> Vec<Rule> {
    vec![
        rule("weekly", json!({"keys": Weekday::NAMES, "minProperties": 1})),
        rule("days", json!({"maxItems": 500})),
        cel(
            "days[]",
            "has(self.date) != has(self.easter)",
            "a day has either date or easter",
        ),
        cel(
            "days[]",
            "!has(self.through) || has(self.date)",
            "through needs a date",
        ),
        cel(
            "days[]",
            // 12-25 has five characters at most, 2026-12-25 more.
            "!has(self.through) || !has(self.date) || (self.through.size() > 5) == (self.date.size() > 5)",
            "date and through must both have a year, or neither",
        ),
        rule("days[].date", json!({"maxLength": 10})),
        rule("days[].through", json!({"maxLength": 10})),
        rule("days[].easter", json!({"minimum": -100, "maximum": 100})),
    ]
}

fn entitlement() -> Vec<Rule> {
    vec![
        above("targetFactor", 0),
        rule("members[]", json!({"pattern": ":"})),
    ]
}

fn intent() -> Vec<Rule> {
    vec![share("urgency"), not_empty("examples")]
}

fn survey() -> Vec<Rule> {
    vec![
        rule(
            "questions",
            json!({
                "minItems": 1, "maxItems": 3,
                // An id stands once.
                "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["id"],
            }),
        ),
        not_empty("questions[].text"),
        cel(
            "questions[]",
            "!has(self.followUpAtMost) || (self.followUpAtMost >= (self.measures == 'nps' ? 0 : 1) && \
             self.followUpAtMost <= (self.measures == 'nps' ? 10 : (self.measures == 'csat' ? 5 : 7)))",
            "followUpAtMost is outside the scale: nps 0 to 10, csat 1 to 5, ces 1 to 7",
        ),
        share("sampleRate"),
        rule("brand", json!({"pattern": "^[a-z0-9_-]{0,63}$"})),
    ]
}

fn message_template() -> Vec<Rule> {
    vec![not_empty("text")]
}

fn persona() -> Vec<Rule> {
    vec![
        not_empty("languages"),
        at_least("languages{}.maxSentenceWords", 5),
    ]
}

fn matching_policy() -> Vec<Rule> {
    let methods: Vec<Value> = ProofMethod::ALL.iter().map(|method| json!(method)).collect();
    let fields = [
        "display_name",
        "language",
        "entitlement",
        "persona_group",
        "preferences",
    ];
    vec![
        rule("defaultCountryCode", json!({"pattern": "^[0-9]+$"})),
        at_least("verificationAttempts", 1),
        at_least("sharedAfterCustomers", 1),
        cel(
            "merges",
            "(has(self.perDay) ? self.perDay : 20) <= (has(self.ever) ? self.ever : 100)",
            "perDay must not be more than ever",
        ),
        at_least("similarity.reviewHours", 1),
        rule("survivorship.fields", json!({"keys": fields})),
        rule("verification.needs{}.level", json!({"minimum": 1, "maximum": 3})),
        at_least("verification.needs{}.maxAgeMinutes", 1),
        rule(
            "verification.methods{}.maxLevel",
            json!({"minimum": 0, "maximum": 3}),
        ),
        at_least("verification.methods{}.hours", 1),
        at_least("verification.methods{}.idleMinutes", 1),
        rule("verification.methods", json!({"keys": methods})),
        // A question never proves more than level 1.
        rule(
            "verification.methods.knowledgeQuestion.maxLevel",
            json!({"maximum": 1}),
        ),
        at_least("verification.lockOut.perCustomer", 1),
        at_least("verification.lockOut.perHandle", 1),
        at_least("verification.lockOut.perSource", 1),
        at_least("verification.lockOut.windowMinutes", 1),
        url("verification.knowledgeHook.url"),
        url("verification.documentHook.url"),
        rule(
            "verification.documentHook.minutes",
            json!({"minimum": 1, "maximum": 1440}),
        ),
    ]
}

fn customer_schema() -> Vec<Rule> {
    let name = "^[a-z0-9_-]{1,63}$";
    vec![
        rule("fields", json!({"maxProperties": 200})),
        rule("fields{}.values", json!({"maxItems": 500})),
        cel(
            "fields{}",
            "(self.type == 'enum') == (has(self.values) && self.values.size() > 0)",
            "an enum has values, nothing else has",
        ),
        cel(
            "fields{}",
            "!has(self.pattern) || self.type == 'string'",
            "pattern is for strings",
        ),
        rule("fields{}.values[]", json!({"minLength": 1, "maxLength": 100})),
        rule("generations", json!({"maxItems": 50})),
        cel(
            "generations[]",
            "self.bornFrom <= self.bornUntil",
            "bornFrom must not be after bornUntil",
        ),
        rule(
            "generations[].personaGroup",
            json!({"enum": ["", "progressive", "conservative"]}),
        ),
        rule(
            "accessibilityNeeds",
            json!({"maxItems": 100, "x-kubernetes-list-type": "set"}),
        ),
        rule(
            "accessibilityNeeds[]",
            json!({"pattern": "^[a-z][a-z0-9_]{0,62}$", "maxLength": 63}),
        ),
        rule("brands[]", json!({"pattern": name})),
        at_least("confirmationHours", 1),
        at_least("accessLogDays", 1),
        url("webhook.url"),
    ]
}
