//! Which way a message takes.

use std::collections::BTreeMap;
use std::sync::Arc;

use trama_proto::{
    common::v1::{ChannelKind, Handle},
    identity_resolution::v1::{ContactPoint, Purpose},
    resources::ChannelSpec,
};

/// What decides the way.
#[derive(Debug, Clone)]
pub struct Question<'a> {
    /// Why it is sent.
    pub purpose: Purpose,
    /// Only on this kind of channel, unless UNSPECIFIED.
    pub channel_kind: ChannelKind,
    /// Only to this address.
    pub handle: Option<&'a Handle>,
    /// Ways that are used up, see [`way`].
    pub spent: &'a [String],
    /// For which brand it speaks; for none in particular when empty.
    pub brand: &'a str,
    /// What went wrong last.
    pub last_problem: &'a str,
}

/// A way to a customer.
#[derive(Debug, Clone, PartialEq)]
pub struct Route {
    /// Name of the Channel resource.
    pub channel: String,
    /// Its kind.
    pub kind: ChannelKind,
    /// Address on it.
    pub handle: Handle,
    /// Why this way.
    pub reason: String,
}

/// What is to be done with a message.
#[derive(Debug, Clone, PartialEq)]
pub enum Decision {
    /// Send it this way.
    Send(Route),
    /// It may not be sent.
    Suppress(String),
    /// It cannot be sent.
    Fail(String),
}

/// The name of a way in the list of those that are used up.
pub fn way(channel: &str, handle: &Handle) -> String {
    format!("{channel}/{}:{}", handle.kind, handle.value)
}

/// Whether the customer's wishes must be asked for. A message to a given address carries its own answer,
/// unless it is advertising, which always needs consent.
pub fn needs_identity(purpose: Purpose, handle: Option<&Handle>) -> bool {
    handle.is_none() || purpose == Purpose::Marketing
}

/// Chooses the way: a given address wins, else the first of the customer's points that a channel of the tenant serves
/// and that is not used up.
pub fn decide(
    question: &Question<'_>,
    points: &[ContactPoint],
    channels: &BTreeMap<String, Arc<ChannelSpec>>,
) -> Decision {
    if question.purpose == Purpose::Marketing && points.is_empty() {
        return Decision::Suppress("marketing without consent".into());
    }
    let given;
    let candidates: &[ContactPoint] = match question.handle {
        Some(handle) => {
            let kind = sendable(kind_for(question.channel_kind, handle), handle);
            let known = points.iter().find(|p| {
                let at = p.handle.as_ref();
                p.channel_kind() == kind
                    && at.is_some_and(|h| h.kind == handle.kind && h.value == handle.value)
            });
            if question.purpose == Purpose::Marketing && known.is_none() {
                return Decision::Suppress("marketing without consent for this address".into());
            }
            given = [ContactPoint {
                channel_kind: kind.into(),
                handle: Some(handle.clone()),
                reason: "address given by the asker".into(),
                refused_brands: known.map(|p| p.refused_brands.clone()).unwrap_or_default(),
            }];
            &given
        }
        None => points,
    };
    if candidates.is_empty() && question.purpose == Purpose::Survey {
        return Decision::Suppress("no allowed way to ask".into());
    }
    let only = question.channel_kind;
    let mut refused = false;
    for point in candidates {
        let Some(handle) = &point.handle else { continue };
        // A call cannot carry a text. Whether a short message may go to the same number is the customer's to say:
        // identity names it as a point of its own.
        let kind = point.channel_kind();
        if question.handle.is_none() && only != ChannelKind::Unspecified && kind != sendable(only, handle) {
            continue;
        }
        let free = channels
            .iter()
            .filter(|(name, spec)| spec.kind() == kind && !question.spent.contains(&way(name, handle)))
            .filter_map(|(name, spec)| Some((fit(question, &spec.brand)?, name, spec)))
            .filter(|(_, _, spec)| {
                let may = spec.brand.is_empty() || !point.refused_brands.contains(&spec.brand);
                refused |= !may;
                may
            })
            .min_by_key(|(fit, name, _)| (*fit, *name))
            .map(|(_, name, spec)| (name, spec));
        if let Some((name, _)) = free
            && can_send(kind)
        {
            return Decision::Send(Route {
                channel: name.clone(),
                kind,
                handle: handle.clone(),
                reason: point.reason.clone(),
            });
        }
    }
    if refused && question.last_problem.is_empty() {
        return Decision::Suppress("the customer refused the senders that could reach them".into());
    }
    let why = if !question.last_problem.is_empty() {
        question.last_problem.to_owned()
    } else if candidates.is_empty() {
        "no allowed way reaches the customer".to_owned()
    } else {
        "no channel of the tenant serves an allowed way".to_owned()
    };
    Decision::Fail(why)
}

/// How well a channel's brand fits the message, best first: its own, then one that speaks for all. Nobody hears of a brand by
/// another's channel, unless it is about their own safety; what speaks for no brand may go by any.
fn fit(question: &Question<'_>, brand: &str) -> Option<u8> {
    if brand == question.brand {
        Some(0)
    } else if brand.is_empty() {
        Some(1)
    } else {
        (question.brand.is_empty() || question.purpose == Purpose::Security).then_some(2)
    }
}

/// Who asks for a text on the telephone means a short message to the same number.
fn sendable(kind: ChannelKind, handle: &Handle) -> ChannelKind {
    if kind == ChannelKind::Voice && handle.kind == "phone" {
        ChannelKind::Sms
    } else {
        kind
    }
}

const fn can_send(kind: ChannelKind) -> bool {
    match kind {
        ChannelKind::Email | ChannelKind::Whatsapp | ChannelKind::WebChat | ChannelKind::Sms => true,
        ChannelKind::Unspecified | ChannelKind::Voice | ChannelKind::Api | ChannelKind::Internal => false,
    }
}

fn kind_for(asked: ChannelKind, handle: &Handle) -> ChannelKind {
    if asked != ChannelKind::Unspecified {
        return asked;
    }
    match handle.kind.as_str() {
        "email" => ChannelKind::Email,
        "phone" => ChannelKind::Sms,
        "whatsapp" => ChannelKind::Whatsapp,
        "webchat" => ChannelKind::WebChat,
        // Handles of other kinds are no addresses.
        _ => ChannelKind::Unspecified,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn channels() -> BTreeMap<String, Arc<ChannelSpec>> {
        let secret = json!({"name": "s", "key": "k"});
        let specs = json!({
            "care-mail": {"provider": {"email": {"addresses": ["a@b.c"], "from": "a@b.c", "relay": "127.0.0.1:25", "relaySecurity": "none"}}},
            "wa": {"provider": {"whatsappCloud": {"phoneNumberId": "1", "appSecret": secret, "verifyToken": secret, "accessToken": secret}}},
            "sms": {"provider": {"twilioSms": {"accountSid": "AC", "authToken": secret, "number": "+390212345678", "publicBaseUrl": "https://x"}}},
            "voice": {"provider": {"twilioVoice": {"accountSid": "AC", "authToken": secret, "number": "+390212345678", "publicBaseUrl": "https://x"}}},
        });
        serde_json::from_value(specs).expect("specs")
    }

    fn point(kind: ChannelKind, handle_kind: &str, value: &str) -> ContactPoint {
        let handle = Handle {
            kind: handle_kind.into(),
            value: value.into(),
            trust: 0,
        };
        ContactPoint {
            channel_kind: kind.into(),
            handle: Some(handle),
            reason: "last used".into(),
            refused_brands: Vec::new(),
        }
    }

    fn question<'a>(purpose: Purpose, spent: &'a [String]) -> Question<'a> {
        Question {
            purpose,
            channel_kind: ChannelKind::Unspecified,
            handle: None,
            spent,
            brand: "",
            last_problem: "",
        }
    }

    fn branded(brand: &str) -> ChannelSpec {
        let spec = json!({"brand": brand, "provider": {"email": {"addresses": ["a@b.c"], "from": "a@b.c",
            "relay": "127.0.0.1:25", "relaySecurity": "none"}}});
        serde_json::from_value(spec).expect("a channel")
    }

    #[test]
    fn a_brand_writes_by_its_own_channel_or_by_one_of_all_and_never_by_anothers() {
        let points = [point(ChannelKind::Email, "email", "a@b.c")];
        let asked = |brand: &'static str, purpose| Question {
            brand,
            ..question(purpose, &[])
        };
        let mut mails: BTreeMap<String, Arc<ChannelSpec>> = [("a-bottega", "bottega"), ("b-acme", "acme")]
            .map(|(name, brand)| (name.to_owned(), Arc::new(branded(brand))))
            .into();
        let way_of = |mails: &_, brand, purpose| channel_of(decide(&asked(brand, purpose), &points, mails));
        assert_eq!(way_of(&mails, "acme", Purpose::Service), "b-acme");
        assert_eq!(way_of(&mails, "", Purpose::Service), "a-bottega");
        assert_eq!(
            way_of(&mails, "outlet", Purpose::Survey),
            "no channel of the tenant serves an allowed way"
        );
        assert_eq!(way_of(&mails, "outlet", Purpose::Security), "a-bottega");
        mails.insert("c-all".to_owned(), Arc::new(branded("")));
        assert_eq!(way_of(&mails, "outlet", Purpose::Survey), "c-all");
        assert_eq!(way_of(&mails, "", Purpose::Service), "c-all");
    }

    #[test]
    fn who_told_a_sender_to_stop_hears_no_advertising_from_it_for_whomever_it_speaks() {
        let mut shops = channels();
        shops.remove("sms");
        for brand in ["acme", "bottega"] {
            let number = json!({"brand": brand, "provider": {"twilioSms": {"accountSid": "AC",
                "authToken": {"name": "s", "key": "k"}, "number": "+390212345678", "publicBaseUrl": "https://x"}}});
            let number: ChannelSpec = serde_json::from_value(number).expect("a channel");
            shops.insert(format!("sms-of-{brand}"), Arc::new(number));
        }
        let mut points = [point(ChannelKind::Sms, "phone", "+39333")];
        let advertising = question(Purpose::Marketing, &[]);
        assert_eq!(channel_of(decide(&advertising, &points, &shops)), "sms-of-acme");
        // `STOP` to the number of acme.
        points[0].refused_brands = vec!["acme".into()];
        assert_eq!(
            channel_of(decide(&advertising, &points, &shops)),
            "sms-of-bottega"
        );
        let handle = points[0].handle.clone();
        let given = Question {
            handle: handle.as_ref(),
            ..question(Purpose::Marketing, &[])
        };
        assert_eq!(channel_of(decide(&given, &points, &shops)), "sms-of-bottega");
        points[0].refused_brands.push("bottega".into());
        for asked in [&advertising, &given] {
            assert!(matches!(decide(asked, &points, &shops), Decision::Suppress(_)));
        }
    }

    #[test]
    fn consent_for_a_short_message_is_none_for_the_same_number_on_another_channel() {
        let points = [point(ChannelKind::Sms, "phone", "39333")];
        let handle = points[0].handle.clone();
        let given = Question {
            channel_kind: ChannelKind::Whatsapp,
            handle: handle.as_ref(),
            ..question(Purpose::Marketing, &[])
        };
        assert!(matches!(
            decide(&given, &points, &channels()),
            Decision::Suppress(_)
        ));
    }

    fn channel_of(decision: Decision) -> String {
        match decision {
            Decision::Send(route) => route.channel,
            Decision::Suppress(reason) | Decision::Fail(reason) => reason,
        }
    }

    #[test]
    fn the_first_point_that_a_channel_serves_wins_and_spent_ways_are_passed_over() {
        let points = [
            point(ChannelKind::WebChat, "webchat", "v1"),
            point(ChannelKind::Whatsapp, "whatsapp", "39333"),
            point(ChannelKind::Email, "email", "a@b.c"),
        ];
        assert_eq!(
            channel_of(decide(&question(Purpose::Service, &[]), &points, &channels())),
            "wa"
        );
        let spent = ["wa/whatsapp:39333".to_owned()];
        assert_eq!(
            channel_of(decide(&question(Purpose::Service, &spent), &points, &channels())),
            "care-mail"
        );
        let spent = ["wa/whatsapp:39333".to_owned(), "care-mail/email:a@b.c".to_owned()];
        let decision = decide(
            &Question {
                last_problem: "131026",
                ..question(Purpose::Service, &spent)
            },
            &points,
            &channels(),
        );
        assert_eq!(decision, Decision::Fail("131026".into()));
    }

    #[test]
    fn a_caller_is_answered_by_short_message() {
        let points = [
            point(ChannelKind::Email, "email", "a@b.c"),
            point(ChannelKind::Sms, "phone", "+39333"),
        ];
        let asked = Question {
            channel_kind: ChannelKind::Voice,
            ..question(Purpose::Service, &[])
        };
        assert_eq!(channel_of(decide(&asked, &points, &channels())), "sms");
        let refused = [point(ChannelKind::Voice, "phone", "+39333")];
        assert!(
            matches!(decide(&asked, &refused, &channels()), Decision::Fail(_)),
            "a short message was not allowed"
        );
    }

    #[test]
    fn a_given_kind_or_address_wins_over_wishes() {
        let points = [
            point(ChannelKind::Whatsapp, "whatsapp", "39333"),
            point(ChannelKind::Email, "email", "a@b.c"),
        ];
        let only = Question {
            channel_kind: ChannelKind::Email,
            ..question(Purpose::Service, &[])
        };
        assert_eq!(channel_of(decide(&only, &points, &channels())), "care-mail");
        let handle = Handle {
            kind: "phone".into(),
            value: "+39333".into(),
            trust: 0,
        };
        let given = Question {
            handle: Some(&handle),
            ..question(Purpose::Security, &[])
        };
        assert_eq!(channel_of(decide(&given, &[], &channels())), "sms");
        assert!(!needs_identity(Purpose::Security, Some(&handle)));
    }

    #[test]
    fn marketing_without_consent_is_suppressed() {
        let handle = Handle {
            kind: "email".into(),
            value: "a@b.c".into(),
            trust: 0,
        };
        let given = Question {
            handle: Some(&handle),
            ..question(Purpose::Marketing, &[])
        };
        assert!(matches!(decide(&given, &[], &channels()), Decision::Suppress(_)));
        assert!(matches!(
            decide(&question(Purpose::Marketing, &[]), &[], &channels()),
            Decision::Suppress(_)
        ));
        assert!(matches!(
            decide(&question(Purpose::Survey, &[]), &[], &channels()),
            Decision::Suppress(_)
        ));
        assert!(matches!(
            decide(&question(Purpose::Service, &[]), &[], &channels()),
            Decision::Fail(_)
        ));
        assert!(needs_identity(Purpose::Marketing, Some(&handle)));
    }
}
