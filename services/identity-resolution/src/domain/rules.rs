//! What a tenant's resources say about who is who, compiled once per version of the resources.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

use trama_proto::{
    common::v1::ChannelKind,
    resources::{IdentifierRule, MatchingPolicySpec, MostTrust, Provider, TenantResources},
};

use super::handle::{HandleKey, HandleKind, InvalidHandle, Trust};
use crate::matching::{Policy, normalise::MailRules};

/// The rules of one tenant.
#[derive(Debug, Clone)]
pub struct Rules {
    policy: MatchingPolicySpec,
    /// Weights of similarity; `None` when the policy wants none of it.
    similarity: Option<Arc<Policy>>,
    roles: HashSet<String>,
    /// As the weights read mailboxes.
    mail: MailRules,
    blocked: HashSet<String>,
    shared: HashSet<HandleKey>,
    /// By kind of handle; what the policy does not name is as shipped.
    identifiers: BTreeMap<String, IdentifierRule>,
    members: HashMap<HandleKey, String>,
    domains: HashMap<String, String>,
    default_entitlement: String,
    entitlements: HashSet<String>,
    login_levels: HashMap<String, i32>,
    kinds: HashSet<ChannelKind>,
}

/// Values that people and programs write when they have none.
const NOBODY: [&str; 16] = [
    "",
    "null",
    "none",
    "n/a",
    "na",
    "nil",
    "unknown",
    "undefined",
    "anonymous",
    "guest",
    "private",
    "restricted",
    "unavailable",
    "withheld",
    "test",
    "blocked",
];
/// Mailboxes that nobody reads.
const NOBODYS_MAILBOXES: [&str; 11] = [
    "test",
    "noreply",
    "no-reply",
    "no_reply",
    "donotreply",
    "do-not-reply",
    "mailer-daemon",
    "postmaster",
    "null",
    "anonymous",
    "unknown",
];
/// Numbers that Twilio gives to callers who hide theirs.
const NOBODYS_NUMBERS: [&str; 5] = [
    "+266696687",
    "+7378742833",
    "+2562533",
    "+8656696",
    "+86282452253",
];

/// Mailboxes that several people read.
const ROLES: &str = "info admin administrator amministrazione office ufficio vendite sales ordini orders support \
    supporto assistenza help helpdesk contatti contatto contact contacts segreteria commerciale marketing hr personale \
    jobs billing fatture fatturazione accounting contabilita reception booking prenotazioni webmaster abuse privacy \
    legal stampa newsletter service servizio clienti customerservice team staff direzione acquisti logistica magazzino \
    enquiries hello famiglia family";

impl Default for Rules {
    fn default() -> Self {
        Self::new(None)
    }
}

/// Why the weights of a policy are not in force, for its status.
#[derive(Debug, thiserror::Error)]
#[error("MatchingPolicy: spec.similarity.model: {0}; the shipped weights are used")]
pub struct BadModel(String);

impl Rules {
    /// From a tenant's resources; a tenant without any has the defaults.
    pub fn new(resources: Option<&TenantResources>) -> Self {
        Self::checked(resources).0
    }

    /// The same, and what is wrong with the weights, if anything is.
    pub fn checked(resources: Option<&TenantResources>) -> (Self, Option<BadModel>) {
        let empty = TenantResources::default();
        let resources = resources.unwrap_or(&empty);
        let policies = &resources.matching_policies;
        let policy = policies.get("default").or_else(|| policies.values().next());
        let policy = policy.map(|p| (**p).clone()).unwrap_or_default();
        let similarity = &policy.similarity;
        let given = similarity.model.as_ref().map(|m| Policy::parse(&m.to_string()));
        let (weights, problem) = match given {
            None => (Policy::shipped(), None),
            Some(Ok(weights)) => (weights, None),
            Some(Err(error)) => (Policy::shipped(), Some(BadModel(error.to_string()))),
        };
        let enabled = similarity.enabled;
        let mut rules = Self::of(resources, policy, weights.mail.clone());
        rules.similarity = enabled.then(|| Arc::new(weights));
        (rules, problem)
    }

    fn of(resources: &TenantResources, policy: MatchingPolicySpec, mail: MailRules) -> Self {
        let mut rules = Self {
            policy: MatchingPolicySpec::default(),
            similarity: None,
            mail,
            roles: ROLES
                .split_whitespace()
                .map(str::to_owned)
                .chain(policy.role_mailboxes.iter().map(|r| r.trim().to_lowercase()))
                .collect(),
            identifiers: policy.identifiers_in_force(),
            members: HashMap::new(),
            domains: HashMap::new(),
            default_entitlement: String::new(),
            login_levels: HashMap::new(),
            kinds: HashSet::new(),
            blocked: policy
                .blocked_values
                .iter()
                .map(|v| v.trim().to_lowercase())
                .collect(),
            shared: HashSet::new(),
            entitlements: resources.entitlements.keys().cloned().collect(),
        };
        rules.policy = policy;
        let shared = rules.policy.shared_handles.iter();
        rules.shared = shared.filter_map(|h| rules.parse(h)).collect();
        // Lowest priority first, so that the highest has the last word; names decide between equals.
        let mut entitlements: Vec<_> = resources.entitlements.iter().collect();
        entitlements.sort_by(|(a, x), (b, y)| x.priority.cmp(&y.priority).then(b.cmp(a)));
        for (name, spec) in entitlements {
            if spec.default {
                rules.default_entitlement.clone_from(name);
            }
            for member in &spec.members {
                if let Some(domain) = member.strip_prefix("email:*@") {
                    rules.domains.insert(domain.to_lowercase(), name.clone());
                } else if let Some(key) = rules.parse(member) {
                    rules.members.insert(key, name.clone());
                }
            }
        }
        for (name, channel) in &resources.channels {
            rules.kinds.insert(channel.kind());
            match &channel.provider {
                Provider::WebChat(chat) => {
                    rules.login_levels.insert(name.clone(), chat.login_level);
                }
                Provider::Email(_)
                | Provider::WhatsappCloud(_)
                | Provider::TwilioVoice(_)
                | Provider::TwilioSms(_)
                | Provider::Api {} => {}
            }
        }
        rules
    }

    /// A handle as policies write it, `kind:value`.
    fn parse(&self, handle: &str) -> Option<HandleKey> {
        let (kind, value) = handle.split_once(':')?;
        self.handle(kind, value).ok()
    }

    /// The matching policy.
    pub fn policy(&self) -> &MatchingPolicySpec {
        &self.policy
    }

    /// The weights of similarity, if the policy wants it.
    pub fn similarity(&self) -> Option<&Policy> {
        self.similarity.as_deref()
    }

    /// Brings a handle into the one spelling that is compared, by the policy's rules.
    ///
    /// # Errors
    /// When it cannot be a handle of this kind.
    pub fn handle(&self, kind: &str, value: &str) -> Result<HandleKey, InvalidHandle> {
        let key = HandleKey::normalise(kind, value, &self.policy.default_country_code)?;
        Ok(match key.kind {
            HandleKind::Email => HandleKey {
                value: self.mailbox(key.value),
                ..key
            },
            HandleKind::Phone
            | HandleKind::Whatsapp
            | HandleKind::Webchat
            | HandleKind::Crm
            | HandleKind::Cookie
            | HandleKind::Device
            | HandleKind::Push
            | HandleKind::Loyalty
            | HandleKind::Social(_)
            | HandleKind::Review
            | HandleKind::Other(_) => key,
        })
    }

    /// The mailbox that a provider delivers an address to.
    fn mailbox(&self, address: String) -> String {
        let mail = &self.policy.mail;
        let Some((local, domain)) = address.rsplit_once('@') else {
            return address;
        };
        let among = |list: &[String]| list.iter().any(|d| d == "*" || d == domain);
        let mut mailbox = local;
        if among(&mail.sub_addressing)
            && let Some((before, _)) = local.split_once('+')
            && !before.is_empty()
        {
            mailbox = before;
        }
        if !among(&mail.ignoring_dots) {
            return format!("{mailbox}@{domain}");
        }
        // The dots that part a family's word stay, and with them what it says: `fam.ros.si` is `fam.rossi`.
        let mut bare = String::new();
        let mut after_family = false;
        for word in mailbox.split('.').filter(|word| !word.is_empty()) {
            let is_family = self.mail.is_family(word);
            if !bare.is_empty() && (is_family || after_family) {
                bare.push('.');
            }
            bare.push_str(word);
            after_family = is_family;
        }
        let local = if bare.is_empty() { mailbox } else { &bare };
        format!("{local}@{domain}")
    }

    /// How many handles of a kind one person may have, where the policy says so.
    pub fn limits(&self) -> impl Iterator<Item = (&str, usize)> {
        let limited = self.identifiers.iter().filter(|(_, rule)| rule.limit > 0);
        limited.map(|(kind, rule)| (kind.as_str(), rule.limit as usize))
    }

    /// How early a kind of handle is believed when several customers' handles come together.
    pub fn priority(&self, key: &HandleKey) -> u32 {
        let rule = self.identifiers.get(key.kind.as_str());
        rule.copied().unwrap_or_default().priority
    }

    /// How much a handle may be believed of which a delivery says so much.
    pub fn trust(&self, key: &HandleKey, said: Trust) -> Trust {
        let rule = self.identifiers.get(key.kind.as_str());
        let most = match rule.map(|rule| rule.most_trust).unwrap_or_default() {
            MostTrust::Claimed => Trust::Claimed,
            MostTrust::Observed => Trust::Observed,
            MostTrust::Verified => Trust::Verified,
        };
        said.min(most).min(key.kind.most_trust())
    }

    /// Whether several people read a mailbox, by its name.
    pub fn is_role(&self, key: &HandleKey) -> bool {
        key.kind == HandleKind::Email
            && key
                .value
                .split_once('@')
                .is_some_and(|(local, _)| self.roles.contains(local))
    }

    /// Whether a value identifies nobody.
    pub fn is_blocked(&self, key: &HandleKey) -> bool {
        let value = key.value.to_lowercase();
        let digits = value.strip_prefix('+').unwrap_or(&value);
        let national = digits
            .strip_prefix(self.policy.default_country_code.as_str())
            .unwrap_or(digits);
        let zeros = |text: &str| text.chars().all(|c| matches!(c, '0' | '-' | '.'));
        NOBODY.contains(&value.as_str())
            || zeros(digits)
            || (matches!(key.kind, HandleKind::Phone | HandleKind::Whatsapp) && zeros(national))
            || (key.kind == HandleKind::Phone && NOBODYS_NUMBERS.contains(&value.as_str()))
            || (key.kind == HandleKind::Email
                && value
                    .split_once('@')
                    .is_some_and(|(local, _)| NOBODYS_MAILBOXES.contains(&local)))
            || self.blocked.contains(&value)
            || (!self.blocked.is_empty() && self.blocked.contains(&format!("{}:{value}", key.kind.as_str())))
    }

    /// Whether several people use it: it is recognised, but never joins two customers.
    pub fn is_shared(&self, key: &HandleKey) -> bool {
        self.is_role(key)
            || (!self.shared.is_empty()
                && (self.shared.contains(key)
                    || key.implied().is_some_and(|phone| self.shared.contains(&phone))))
    }

    /// Whether it may name somebody, but never two as one: whatever [several people use](Self::is_shared), and a mailbox that calls
    /// itself a family's.
    pub fn joins_nobody(&self, key: &HandleKey) -> bool {
        let family = || {
            let local = key.value.rsplit_once('@').map(|(local, _)| local);
            local.is_some_and(|local| self.mail.is_family(local))
        };
        self.is_shared(key) || key.kind == HandleKind::Email && family()
    }

    /// The entitlement that handles give; the default one when none does.
    pub fn entitlement<'a>(&'a self, handles: impl Iterator<Item = &'a HandleKey>) -> &'a str {
        // By name the first of the best: handles come in no promised order.
        let mut best: Option<(bool, &str)> = None;
        for key in handles {
            let direct = self.members.get(key).map(|name| (true, name.as_str()));
            let found = direct.or_else(|| {
                let (_, domain) = (key.kind == HandleKind::Email)
                    .then(|| key.value.rsplit_once('@'))
                    .flatten()?;
                self.domains.get(domain).map(|name| (false, name.as_str()))
            });
            best = match (best, found) {
                (None, found) => found,
                (best, None) => best,
                (Some(a), Some(b)) => {
                    Some(if (b.0, std::cmp::Reverse(b.1)) > (a.0, std::cmp::Reverse(a.1)) {
                        b
                    } else {
                        a
                    })
                }
            };
        }
        best.map_or(&self.default_entitlement, |(_, name)| name)
    }

    /// Whether an entitlement of this name exists.
    pub fn knows_entitlement(&self, name: &str) -> bool {
        self.entitlements.contains(name)
    }

    /// The level that a login on a channel is worth.
    pub fn login_level(&self, channel: &str) -> i32 {
        self.login_levels.get(channel).copied().unwrap_or(1)
    }

    /// The most that a login on any channel is worth.
    pub fn strongest_login(&self) -> i32 {
        self.login_levels.values().copied().max().unwrap_or(1)
    }

    /// Whether the tenant can send on this kind of channel. A tenant without channels is not held back here.
    pub fn can_send(&self, kind: ChannelKind) -> bool {
        self.kinds.is_empty() || self.kinds.contains(&kind)
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, sync::Arc};

    use trama_proto::resources::EntitlementSpec;

    use super::*;

    fn key(kind: &str, value: &str) -> HandleKey {
        HandleKey::normalise(kind, value, "39").expect("valid")
    }

    #[test]
    fn values_of_nobody_are_blocked() {
        let mut resources = TenantResources::default();
        let policy = MatchingPolicySpec {
            blocked_values: vec!["crm:9999".into(), "Demo".into()],
            ..Default::default()
        };
        resources
            .matching_policies
            .insert("default".into(), Arc::new(policy));
        let rules = Rules::new(Some(&resources));
        for (kind, value) in [
            ("crm", "NULL"),
            ("crm", "n/a"),
            ("crm", "000"),
            ("crm", "--"),
            ("cookie", "unknown"),
            ("phone", "000000000"),
            ("email", "noreply@shop.example"),
            ("email", "test@example.com"),
            ("phone", "+266696687"),
            ("crm", "9999"),
            ("cookie", "demo"),
        ] {
            assert!(rules.is_blocked(&key(kind, value)), "{kind}:{value}");
        }
        for (kind, value) in [
            ("crm", "1001"),
            ("email", "anna@example.com"),
            ("cookie", "9999"),
            ("phone", "3331234567"),
        ] {
            assert!(!rules.is_blocked(&key(kind, value)), "{kind}:{value}");
        }
    }

    #[test]
    fn a_familys_mailbox_says_so_where_dots_are_ignored() {
        let policy = MatchingPolicySpec {
            shared_handles: vec!["email:the.whole.office@gmail.com".into()],
            ..Default::default()
        };
        let mut resources = TenantResources::default();
        resources
            .matching_policies
            .insert("default".into(), Arc::new(policy));
        let rules = Rules::new(Some(&resources));
        let mailbox = |text: &str| rules.handle("email", text).expect("an address");
        for (written, meant) in [
            ("fam.rossi@gmail.com", "fam.rossi@gmail.com"),
            ("Fam.Ros.si+shop@gmail.com", "fam.rossi@gmail.com"),
            ("ro.ssi.family@gmail.com", "rossi.family@gmail.com"),
            ("famiglia.rossi@gmail.com", "famiglia.rossi@gmail.com"),
            ("famiglia.rossi@libero.it", "famiglia.rossi@libero.it"),
        ] {
            let key = mailbox(written);
            assert_eq!((key.value.as_str(), rules.joins_nobody(&key)), (meant, true));
            assert_eq!(mailbox(&key.value), key, "{written}");
        }
        for (written, meant) in [
            ("an.na.rossi+shop@gmail.com", "annarossi@gmail.com"),
            ("famularo.anna@gmail.com", "famularoanna@gmail.com"),
            ("anna.rossi@libero.it", "anna.rossi@libero.it"),
        ] {
            let key = mailbox(written);
            assert_eq!((key.value.as_str(), rules.joins_nobody(&key)), (meant, false));
        }
        assert!(
            rules.is_shared(&mailbox("thewholeoffice@gmail.com")),
            "however the policy writes it"
        );
    }

    #[test]
    fn entitlement_follows_members_then_domains_then_default() {
        let spec = |default, members: &[&str]| {
            Arc::new(EntitlementSpec {
                default,
                members: members.iter().map(|m| (*m).to_owned()).collect(),
                priority: 0,
                target_factor: 1.0,
            })
        };
        let resources = TenantResources {
            entitlements: BTreeMap::from([
                ("gold".to_owned(), spec(false, &["crm:1001"])),
                ("silver".to_owned(), spec(false, &["email:*@example.com"])),
                ("standard".to_owned(), spec(true, &[])),
            ]),
            ..TenantResources::default()
        };
        let rules = Rules::new(Some(&resources));
        assert_eq!(
            rules.entitlement([key("email", "a@example.com"), key("crm", "1001")].iter()),
            "gold"
        );
        assert_eq!(
            rules.entitlement([key("email", "a@example.com")].iter()),
            "silver"
        );
        assert_eq!(
            rules.entitlement([key("email", "a@other.example")].iter()),
            "standard"
        );
    }
}
