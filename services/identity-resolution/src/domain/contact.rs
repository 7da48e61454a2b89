//! Where a customer may and wants to be reached.

use trama_proto::{common::v1::ChannelKind, identity_resolution::v1::Purpose};

use super::{
    customer::{Customer, EVERY_NEED, Held},
    handle::{HandleKind, Trust},
    rules::Rules,
};

/// One way to reach a customer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Point<'a> {
    /// On this kind of channel.
    pub kind: ChannelKind,
    /// At this address.
    pub handle: &'a Held,
    /// Why.
    pub reason: String,
}

/// The allowed ways, the wanted one first: preference for the need, preference for every need, the channel of the
/// last word, what the generation usually wants, then the most trusted and latest handles.
pub fn points<'a>(
    customer: &'a Customer,
    need: &str,
    (purpose, brand): (Purpose, &str),
    fallback: ChannelKind,
    rules: &Rules,
) -> Vec<Point<'a>> {
    let mut ways = ways(customer, rules);
    ways.retain(|(kind, handle)| {
        customer.profile.allows(*kind, purpose, brand)
            && (purpose != Purpose::Security || handle.trust > Trust::Claimed)
    });
    let preferred = |need: &str| {
        customer
            .profile
            .preferences
            .get(need)
            .and_then(|kind| ChannelKind::try_from(*kind).ok())
    };
    let wishes = [
        (preferred(need), format!("preference for {need}")),
        (preferred(EVERY_NEED), "preference for every need".to_owned()),
        // A text cannot follow a call on the same channel.
        (
            Some(if fallback == ChannelKind::Voice {
                ChannelKind::Sms
            } else {
                fallback
            }),
            "last used".to_owned(),
        ),
        // What people of an age usually want is no more than a guess: what somebody does goes before it.
        (
            customer.view.preference(need),
            "usual for the generation".to_owned(),
        ),
    ];
    let mut points: Vec<Point<'a>> = Vec::with_capacity(ways.len());
    for (kind, reason) in wishes {
        if let Some(position) = ways.iter().position(|(k, _)| Some(*k) == kind) {
            let (kind, handle) = ways.remove(position);
            points.push(Point { kind, handle, reason });
        }
    }
    points.extend(ways.into_iter().map(|(kind, handle)| {
        let reason = match handle.trust {
            Trust::Verified => "verified handle",
            Trust::Observed => "known handle",
            Trust::Claimed => "claimed handle",
        };
        Point {
            kind,
            handle,
            reason: reason.to_owned(),
        }
    }));
    points
}

/// The best handle of each kind of channel that the tenant can send on, best first.
fn ways<'a>(customer: &'a Customer, rules: &Rules) -> Vec<(ChannelKind, &'a Held)> {
    let mut handles: Vec<(ChannelKind, &Held)> = customer
        .handles
        .iter()
        .filter_map(|h| Some((h.key.kind.sendable_as()?, h)))
        .filter(|(kind, _)| rules.can_send(*kind))
        .collect();
    handles.sort_by(|(_, a), (_, b)| (b.trust, b.last_seen, &a.key).cmp(&(a.trust, a.last_seen, &b.key)));
    let mut seen = Vec::new();
    handles.retain(|(kind, _)| {
        let first = !seen.contains(kind);
        seen.push(*kind);
        first
    });
    handles
}

/// Where a one-time code goes: a verified handle, else the oldest that was seen in use. What somebody merely claims
/// is never proof, and neither is what several people read, or a handle that proves something already.
pub fn for_code<'a>(customer: &'a Customer, proven: &[i64], rules: &Rules) -> Option<&'a Held> {
    customer
        .handles
        .iter()
        .filter(|h| can_take_code(customer, h, rules) && !proven.contains(&h.key.evidence()))
        .min_by_key(|h| (std::cmp::Reverse(h.trust), h.first_seen, &h.key))
}

/// The best handle on a kind of channel that the tenant can send on; one that somebody merely claims is none.
pub fn on_channel<'a>(customer: &'a Customer, kind: ChannelKind, rules: &Rules) -> Option<&'a Held> {
    let mut ways = ways(customer, rules).into_iter();
    ways.find(|(k, handle)| *k == kind && handle.trust > Trust::Claimed)
        .map(|(_, handle)| handle)
}

/// Whether a code may be sent to this handle. Whoever reads it out is somebody who is reached there: of a family's telephone, or of
/// the same line under another kind, that says too little.
pub fn can_take_code(customer: &Customer, handle: &Held, rules: &Rules) -> bool {
    let kind = match &handle.key.kind {
        HandleKind::Email => ChannelKind::Email,
        HandleKind::Phone => ChannelKind::Sms,
        HandleKind::Whatsapp => ChannelKind::Whatsapp,
        // Whoever sits at the chat is the one to be proven.
        HandleKind::Webchat
        | HandleKind::Crm
        | HandleKind::Cookie
        | HandleKind::Device
        | HandleKind::Push
        | HandleKind::Loyalty
        | HandleKind::Social(_)
        | HandleKind::Review
        | HandleKind::Other(_) => return false,
    };
    let mut line = customer.handles.iter().filter(|h| h.key.same_line(&handle.key));
    handle.trust > Trust::Claimed
        && rules.can_send(kind)
        && !rules.is_shared(&handle.key)
        && !handle.shared
        && !line.any(|h| h.shared)
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, Duration, Utc};
    use trama_proto::{
        identity_resolution::v1::ConsentStatus,
        ids::{CustomerId, derive},
    };

    use super::*;
    use crate::domain::handle::HandleKey;

    fn anna() -> Customer {
        let at = DateTime::<Utc>::UNIX_EPOCH;
        let id = CustomerId::new(derive(&[b"anna"]));
        let mut anna = Customer::new(id, at);
        for (age, kind, value, trust) in [
            (0, "email", "anna@example.com", Trust::Observed),
            (1, "phone", "+393331234567", Trust::Observed),
            (2, "whatsapp", "393331234567", Trust::Observed),
            (3, "email", "new@example.com", Trust::Claimed),
            (4, "crm", "1001", Trust::Verified),
        ] {
            let at = at + Duration::hours(age);
            let key = HandleKey::normalise(kind, value, "39").expect("valid");
            anna.handles.push(Held::first(key, trust, id, at));
        }
        anna
    }

    fn said(customer: &mut Customer, kind: ChannelKind, purpose: Purpose, status: ConsentStatus) {
        customer
            .profile
            .consents
            .insert(crate::domain::customer::consent_key(kind, purpose), status as i32);
    }

    fn kinds(customer: &Customer, need: &str, purpose: Purpose, fallback: ChannelKind) -> Vec<ChannelKind> {
        points(customer, need, (purpose, ""), fallback, &Rules::default())
            .iter()
            .map(|p| p.kind)
            .collect()
    }

    #[test]
    fn the_wanted_channel_comes_first() {
        use ChannelKind::{Email, Sms, Unspecified, Voice, Whatsapp};
        let mut anna = anna();
        assert_eq!(
            kinds(&anna, "", Purpose::Service, Unspecified),
            [Whatsapp, Sms, Email]
        );
        assert_eq!(kinds(&anna, "", Purpose::Service, Email), [Email, Whatsapp, Sms]);
        assert_eq!(kinds(&anna, "", Purpose::Service, Voice), [Sms, Whatsapp, Email]);
        anna.profile.preferences.insert(EVERY_NEED.into(), Email as i32);
        anna.profile
            .preferences
            .insert("product-fault".into(), Whatsapp as i32);
        assert_eq!(
            kinds(&anna, "product-fault", Purpose::Service, Sms),
            [Whatsapp, Email, Sms]
        );
        assert_eq!(
            kinds(&anna, "opening-hours", Purpose::Service, Sms),
            [Email, Sms, Whatsapp]
        );
    }

    #[test]
    fn consent_is_per_channel_and_purpose() {
        use ChannelKind::{Email, Sms, Unspecified, Whatsapp};
        let mut anna = anna();
        assert_eq!(kinds(&anna, "", Purpose::Marketing, Unspecified), []);
        said(&mut anna, Whatsapp, Purpose::Marketing, ConsentStatus::Granted);
        assert_eq!(kinds(&anna, "", Purpose::Marketing, Unspecified), [Whatsapp]);
        said(&mut anna, Whatsapp, Purpose::Survey, ConsentStatus::Denied);
        assert_eq!(kinds(&anna, "", Purpose::Survey, Whatsapp), [Sms, Email]);
        said(&mut anna, Email, Purpose::Security, ConsentStatus::Denied);
        assert_eq!(kinds(&anna, "", Purpose::Security, Email), [Email, Whatsapp, Sms]);
    }

    #[test]
    fn a_code_goes_to_the_oldest_handle_seen_in_use() {
        let mut anna = anna();
        let rules = Rules::default();
        assert_eq!(
            for_code(&anna, &[], &rules).map(|h| h.key.value.as_str()),
            Some("anna@example.com")
        );
        anna.handles[2].trust = Trust::Verified;
        assert_eq!(
            for_code(&anna, &[], &rules).map(|h| h.key.value.as_str()),
            Some("393331234567")
        );
        anna.handles.retain(|h| h.trust == Trust::Claimed);
        assert_eq!(for_code(&anna, &[], &rules), None);
    }

    #[test]
    fn no_code_goes_to_what_several_people_share() {
        let (mut anna, rules) = (anna(), Rules::default());
        anna.handles[0].shared = true;
        let place = for_code(&anna, &[], &rules).map(|h| h.key.value.as_str());
        assert_eq!(place, Some("+393331234567"), "another one");
        anna.handles[1].shared = true;
        assert_eq!(
            for_code(&anna, &[], &rules),
            None,
            "its WhatsApp is the same line"
        );
    }
}
