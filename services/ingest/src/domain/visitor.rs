//! Who is at the other end of a chat.
//!
//! An anonymous visitor's id is 128 random bits: whoever shows it may go on with the conversation. The id of a
//! visitor who logged in is derived from the site's own subject and is never enough by itself: it takes a valid token.

use trama_proto::ids::{TenantId, derive};

/// A visitor of a chat channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VisitorId(String);

impl VisitorId {
    /// A new anonymous visitor.
    pub fn anonymous(random: [u8; 16]) -> Self {
        Self(format!("v-{}", hex::encode(random)))
    }

    /// The visitor whom the site knows by this subject.
    pub fn logged_in(tenant: &TenantId, channel: &str, subject: &str) -> Self {
        let id = derive(&[
            b"visitor",
            tenant.as_str().as_bytes(),
            channel.as_bytes(),
            subject.as_bytes(),
        ]);
        Self(format!("u-{}", id.simple()))
    }

    /// What a caller names, if it has the form of one of ours.
    pub fn parse(text: &str) -> Option<Self> {
        let (kind, rest) = text.split_at_checked(2)?;
        let well_formed = matches!(kind, "v-" | "u-")
            && rest.len() == 32
            && rest
                .bytes()
                .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        well_formed.then(|| Self(text.to_owned()))
    }

    /// Whether showing the id is enough to go on.
    pub fn is_anonymous(&self) -> bool {
        self.0.starts_with("v-")
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ids_of_both_sorts_are_recognised() {
        let tenant: TenantId = "acme".parse().expect("a tenant");
        let known = VisitorId::logged_in(&tenant, "site", "1001");
        let unknown = VisitorId::anonymous([7; 16]);
        assert_eq!(VisitorId::parse(known.as_str()), Some(known.clone()));
        assert!(!known.is_anonymous());
        assert_eq!(VisitorId::parse(unknown.as_str()), Some(unknown.clone()));
        assert!(unknown.is_anonymous());
        assert_ne!(known, VisitorId::logged_in(&tenant, "other", "1001"));
    }

    proptest! {
        #[test]
        fn junk_is_no_visitor(text in "\\PC{0,40}") {
            if let Some(id) = VisitorId::parse(&text) {
                prop_assert_eq!(id.as_str(), text.as_str());
                prop_assert!(text.len() == 34);
            }
        }
    }
}
