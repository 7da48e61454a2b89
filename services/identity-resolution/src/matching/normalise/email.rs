//! Mail addresses: one spelling for one mailbox, as far as its provider's rules are known.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::family;
use crate::matching::{
    facts::Keyed,
    hash::{StableHasher, ValueKey},
};

/// What may be folded. A tenant may change it: a provider's rules are facts about the provider, not about mail.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct MailRules {
    /// Sign that begins a sub-address (`anna+shop@`), by default for every provider.
    pub sub_address: Option<char>,
    /// Providers that ignore dots before the `@`.
    pub ignores_dots: BTreeSet<String>,
    /// Other names of a provider's domain, and common slips of the keyboard.
    pub same_domain: BTreeMap<String, String>,
    /// Mailboxes of a role, read by several people.
    pub roles: BTreeSet<String>,
    /// Words that make a mailbox a family's.
    pub family_words: BTreeSet<String>,
}

impl Default for MailRules {
    fn default() -> Self {
        let set = |words: &str| words.split_whitespace().map(str::to_owned).collect();
        let mut same_domain = BTreeMap::new();
        for line in include_str!("data/mail-domains.tsv")
            .lines()
            .filter(|l| !l.starts_with('#'))
        {
            let mut words = line.split_whitespace();
            if let Some(domain) = words.next() {
                same_domain.extend(words.map(|slip| (slip.to_owned(), domain.to_owned())));
            }
        }
        Self {
            sub_address: Some('+'),
            ignores_dots: set("gmail.com"),
            same_domain,
            roles: set(
                "info admin administrator amministrazione office ufficio vendite sales ordini orders order support supporto assistenza \
                 help helpdesk contatti contatto contact contacts segreteria noreply no-reply donotreply commerciale marketing hr \
                 personale jobs lavoro billing fatture fatturazione accounting contabilita reception booking prenotazioni webmaster \
                 postmaster abuse privacy legal legale press stampa newsletter service servizio clienti customerservice team staff \
                 direzione acquisti logistica magazzino enquiries hello mail posta shop store",
            ),
            family_words: set("famiglia family familia familie famille fam casa household"),
        }
    }
}

impl MailRules {
    /// Whether the part before the `@` says that a family reads it: `fam.rossi`, `rossi-family`, `famigliarossi`.
    #[must_use]
    pub fn is_family(&self, local: &str) -> bool {
        is_family(local, &self.family_words)
    }
}

/// A mailbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Email {
    /// The whole address in its one spelling.
    pub address: Box<str>,
    /// Where the `@` is.
    at: usize,
    /// Several people read it: a role's or a family's.
    pub shared: bool,
    /// Hash of the address.
    pub key: ValueKey,
}

impl Email {
    /// Reads an address.
    #[must_use]
    pub fn parse(text: &str, rules: &MailRules) -> Option<Self> {
        let text = text
            .trim()
            .trim_start_matches("mailto:")
            .trim_matches(|c| c == '<' || c == '>');
        let (local, domain) = text.rsplit_once('@')?;
        let mut domain = domain.trim().trim_end_matches('.').to_lowercase();
        let mut local = local.trim().to_lowercase();
        if local.is_empty()
            || domain.len() < 3
            || !domain.contains('.')
            || domain.starts_with('.')
            || local
                .chars()
                .chain(domain.chars())
                .any(|c| c.is_whitespace() || c.is_control() || c == '@')
        {
            return None;
        }
        // Slips are mapped once: a domain that is somebody's target maps to itself.
        if let Some(meant) = rules.same_domain.get(&domain) {
            domain.clone_from(meant);
        }
        if let Some(sign) = rules.sub_address
            && let Some((box_name, _)) = local.split_once(sign)
            && !box_name.is_empty()
        {
            local = box_name.to_owned();
        }
        // Before dots go: they part the words.
        let shared = rules.roles.contains(&local) || rules.is_family(&local);
        if rules.ignores_dots.contains(&domain) {
            let bare: String = local.chars().filter(|c| *c != '.').collect();
            if !bare.is_empty() {
                local = bare;
            }
        }
        if matches!(
            local.as_str(),
            "test" | "prova" | "null" | "none" | "anonymous" | "anonimo" | "unknown"
        ) || domain.starts_with("example.")
        {
            return None;
        }
        let at = local.len();
        let address = format!("{local}@{domain}");
        Some(Self {
            key: StableHasher::new(family::EMAIL).part(&address).value(),
            address: address.into(),
            at,
            shared,
        })
    }

    /// Before the `@`.
    #[must_use]
    pub fn local(&self) -> &str {
        self.address.get(..self.at).unwrap_or_default()
    }

    /// After the `@`.
    #[must_use]
    pub fn domain(&self) -> &str {
        self.address.get(self.at + 1..).unwrap_or_default()
    }
}

/// `fam.rossi`, `rossi-family`, `famigliarossi`: a family's word as a word, or a long one before a name.
fn is_family(local: &str, words: &BTreeSet<String>) -> bool {
    const LONG: usize = 6;
    local.split(['.', '-', '_']).any(|word| {
        let word = word.trim_end_matches(|c: char| c.is_ascii_digit());
        words.contains(word)
            || words.iter().any(|known| {
                known.len() >= LONG && word.len() >= known.len() + 3 && word.starts_with(known.as_str())
            })
    })
}

impl Keyed for Email {
    fn key(&self) -> ValueKey {
        self.key
    }
}
