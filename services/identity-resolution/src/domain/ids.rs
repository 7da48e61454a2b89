//! Ids that nobody outside this service names except to hand them back.

use std::{fmt, str::FromStr};

use trama_proto::ids::derive;
use uuid::Uuid;

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident = $what:literal,)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Uuid);

        impl $name {
            /// From a stored UUID.
            pub const fn new(id: Uuid) -> Self {
                Self(id)
            }

            /// Derived from parts: the same parts give the same id.
            pub fn derived(parts: &[&[u8]]) -> Self {
                Self(derive(parts))
            }

            /// The UUID, for SQL.
            pub const fn uuid(self) -> Uuid {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = String;

            fn from_str(text: &str) -> Result<Self, String> {
                Uuid::try_parse(text)
                    .map(Self)
                    .map_err(|_| concat!("is not the id of a ", $what, ": a UUID").to_owned())
            }
        }
    )*};
}

ids! {
    /// A question whether two are one person.
    ReviewId = "review",
    /// Two who belong together.
    RelationId = "relation",
    /// What a record said.
    ObservationId = "observation",
}
