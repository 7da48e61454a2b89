//! A relation in a word, as a column has it: `household:<customer>`, `contact:<customer>:<role>`.

use std::fmt;

use trama_proto::{identity_resolution::v1::RelationKind, ids::CustomerId};

/// What the other is to the customer of the line, and how the relation is kept.
const KINDS: [(&str, RelationKind, bool); 7] = [
    ("household", RelationKind::Household, true),
    ("contact", RelationKind::CompanyContact, true),
    ("company", RelationKind::CompanyContact, false),
    ("part", RelationKind::PartOf, true),
    ("whole", RelationKind::PartOf, false),
    ("representative", RelationKind::Representative, true),
    ("represents", RelationKind::Representative, false),
];
/// What an export writes in place of further relations of somebody who has very many: they stand with the others.
const MORE: &str = "more";

/// A relation as one of the two has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bond {
    /// How.
    pub kind: RelationKind,
    /// Whether the one who has it is the first of the two: of a company and its contact, the company.
    pub first: bool,
    /// The other.
    pub other: CustomerId,
    /// Role of the second.
    pub role: String,
}

/// That there are so many more.
pub fn more(relations: usize) -> String {
    format!("{MORE}:{relations}")
}

impl Bond {
    /// Reads a word; nothing when it only says that there are more.
    ///
    /// # Errors
    /// What is wrong with it; never the value.
    pub fn parse(word: &str) -> Result<Option<Self>, String> {
        let (what, rest) = word.trim().split_once(':').unwrap_or_default();
        if what == MORE {
            return Ok(None);
        }
        let (id, role) = rest.split_once(':').unwrap_or((rest, ""));
        let known = KINDS.into_iter().find(|(name, ..)| *name == what);
        let other = id.trim().parse::<CustomerId>().ok();
        let (Some((_, kind, first)), Some(other)) = (known, other) else {
            let kinds = KINDS.map(|(name, ..)| name).join(", ");
            return Err(format!(
                "must be <kind>:<customer id>, with :<role> behind it if need be, several with | between them; kinds are {kinds}"
            ));
        };
        if role.chars().count() > MOST_OF_ROLE || role.chars().any(char::is_control) {
            return Err(format!(
                "a role has at most {MOST_OF_ROLE} characters, no control characters"
            ));
        }
        Ok(Some(Self {
            kind,
            first,
            other,
            role: role.trim().to_owned(),
        }))
    }
}

/// Characters of a role.
const MOST_OF_ROLE: usize = 200;

impl fmt::Display for Bond {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known = KINDS.into_iter().find(|(_, kind, first)| {
            (*kind, *first) == (self.kind, self.first || *kind == RelationKind::Household)
        });
        let Some((name, ..)) = known else {
            return Ok(());
        };
        write!(f, "{name}:{}", self.other)?;
        if self.role.is_empty() {
            Ok(())
        } else {
            write!(f, ":{}", self.role)
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_written_is_read_again(which in 0..KINDS.len(), role in "[a-zà:|-]{0,20}") {
            let (_, kind, first) = KINDS[which];
            let bond = Bond { kind, first, other: CustomerId::derived(&[b"anna"]), role };
            prop_assert_eq!(Bond::parse(&bond.to_string()), Ok(Some(bond)));
        }

        #[test]
        fn no_word_makes_it_panic(word in "\\PC{0,60}") {
            let _ = Bond::parse(&word);
        }
    }

    #[test]
    fn what_is_no_relation_is_refused_and_that_there_are_more_is_none() {
        assert_eq!(Bond::parse(&more(12)), Ok(None));
        for word in [
            "",
            "household",
            "household:7",
            "friend:018f3c1e-7d2a-7000-8000-000000000001",
        ] {
            assert!(Bond::parse(word).is_err(), "{word}");
        }
    }
}
