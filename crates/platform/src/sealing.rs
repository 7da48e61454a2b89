//! Texts that nobody reads who reads the database: chosen columns are encrypted before they are written.
//!
//! A store function hands the values of a column to [`Tx::seal`] before it writes them and to [`Tx::open`] after it has
//! read them; both forms, sealed and clear, are read. Which columns these are, a service says once ([`Column`],
//! [`crate::privacy::Holder::sealed`]): exports and the job that seals old rows go by that list.
//!
//! Each tenant has a data key for each month. It is kept wrapped by a key that the configuration only names
//! ([`keys::KeyService`]), and unwrapped in memory for some minutes. See `docs/adr/0024-encryption-of-fields.md`.

pub mod keys;
mod old;
mod rows;
mod unseal;
mod vault;

use std::{collections::BTreeSet, fmt::Display};

use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};
use serde_json::Value;
use uuid::Uuid;

use crate::{Error, db::Tx};

pub use unseal::Unsealed;
pub(crate) use {
    old::{round as seal_old, start},
    unseal::stand,
    vault::Vault,
};

/// What names a row besides its tenant: the rest of the primary key, with the types of PostgreSQL. These never change.
pub type Key = &'static [(&'static str, &'static str)];

/// A column whose values are sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Column {
    /// Table.
    pub table: &'static str,
    /// Column.
    pub column: &'static str,
    /// What names a row besides its tenant.
    pub key: Key,
    /// What is in the column.
    pub shape: Shape,
}

/// What is in a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// `bytea` with encoded messages: they never begin with a zero, which sealed values do.
    Bytes,
    /// `text`.
    Text,
    /// `jsonb` with anything but a lone text.
    Json,
}

impl Column {
    /// A column of encoded messages.
    pub const fn bytes(table: &'static str, column: &'static str, key: Key) -> Self {
        Self::of(Shape::Bytes, table, column, key)
    }

    /// A column of texts.
    pub const fn text(table: &'static str, column: &'static str, key: Key) -> Self {
        Self::of(Shape::Text, table, column, key)
    }

    /// A column of JSON.
    pub const fn json(table: &'static str, column: &'static str, key: Key) -> Self {
        Self::of(Shape::Json, table, column, key)
    }

    const fn of(shape: Shape, table: &'static str, column: &'static str, key: Key) -> Self {
        Self {
            table,
            column,
            key,
            shape,
        }
    }

    /// What a value is bound to: it opens nowhere else.
    fn place(&self, schema: &str, tenant: &str, row: &dyn Display) -> Vec<u8> {
        format!("{schema}.{}.{}|{tenant}|{row}", self.table, self.column).into_bytes()
    }
}

/// First bytes of a sealed value: no encoded message begins with a zero. Then the version of the form.
const MAGIC: [u8; 2] = [0, 1];
/// Before a sealed text.
pub(crate) const MARK: &str = "\u{1}sealed:";
/// Before a text that somebody wrote with one of these marks at its beginning.
const ESCAPE: &str = "\u{1}clear:";

/// What can be sealed: bytes, texts, JSON, and what may not be there.
pub trait Form: Send {
    /// Nothing is left as it is: it says nothing, and statements compare with it.
    fn is_empty(&self) -> bool;
    /// The sealed bytes; none of a clear value.
    fn sealed(&self) -> Option<Vec<u8>>;
    /// The bytes to seal.
    fn to_clear(&self) -> Vec<u8>;
    /// Becomes sealed.
    fn set_sealed(&mut self, bytes: Vec<u8>);
    /// Becomes clear again; `false` when that is not what was sealed.
    fn set_clear(&mut self, bytes: Vec<u8>) -> bool;
    /// Stays clear: what looks like a sealed value is marked as none.
    fn escape(&mut self) {}
    /// Takes that mark away.
    fn unescape(&mut self) {}
}

impl Form for Vec<u8> {
    fn is_empty(&self) -> bool {
        self.as_slice().is_empty()
    }

    fn sealed(&self) -> Option<Vec<u8>> {
        self.starts_with(&MAGIC).then(|| self.clone())
    }

    fn to_clear(&self) -> Vec<u8> {
        self.clone()
    }

    fn set_sealed(&mut self, bytes: Vec<u8>) {
        *self = bytes;
    }

    fn set_clear(&mut self, bytes: Vec<u8>) -> bool {
        *self = bytes;
        true
    }
}

impl Form for String {
    fn is_empty(&self) -> bool {
        self.as_str().is_empty()
    }

    fn sealed(&self) -> Option<Vec<u8>> {
        unmarked(self)
    }

    fn to_clear(&self) -> Vec<u8> {
        self.as_bytes().to_vec()
    }

    fn set_sealed(&mut self, bytes: Vec<u8>) {
        *self = marked(&bytes);
    }

    fn set_clear(&mut self, bytes: Vec<u8>) -> bool {
        match Self::from_utf8(bytes) {
            Ok(text) => *self = text,
            Err(_) => return false,
        }
        true
    }

    fn escape(&mut self) {
        if self.starts_with(MARK) || self.starts_with(ESCAPE) {
            self.insert_str(0, ESCAPE);
        }
    }

    fn unescape(&mut self) {
        if let Some(text) = self.strip_prefix(ESCAPE) {
            *self = text.to_owned();
        }
    }
}

impl Form for Value {
    fn is_empty(&self) -> bool {
        self.is_null()
    }

    fn sealed(&self) -> Option<Vec<u8>> {
        self.as_str().and_then(unmarked)
    }

    fn to_clear(&self) -> Vec<u8> {
        self.to_string().into_bytes()
    }

    fn set_sealed(&mut self, bytes: Vec<u8>) {
        *self = Self::String(marked(&bytes));
    }

    fn set_clear(&mut self, bytes: Vec<u8>) -> bool {
        match serde_json::from_slice(&bytes) {
            Ok(value) => *self = value,
            Err(_) => return false,
        }
        true
    }
}

/// What is not there is not sealed.
impl<V: Form> Form for Option<V> {
    fn is_empty(&self) -> bool {
        self.as_ref().is_none_or(Form::is_empty)
    }

    fn sealed(&self) -> Option<Vec<u8>> {
        self.as_ref().and_then(Form::sealed)
    }

    fn to_clear(&self) -> Vec<u8> {
        self.as_ref().map(Form::to_clear).unwrap_or_default()
    }

    fn set_sealed(&mut self, bytes: Vec<u8>) {
        if let Some(value) = self {
            value.set_sealed(bytes);
        }
    }

    fn set_clear(&mut self, bytes: Vec<u8>) -> bool {
        self.as_mut().is_some_and(|value| value.set_clear(bytes))
    }

    fn escape(&mut self) {
        if let Some(value) = self {
            value.escape();
        }
    }

    fn unescape(&mut self) {
        if let Some(value) = self {
            value.unescape();
        }
    }
}

fn marked(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(MARK.len() + bytes.len() * 4 / 3 + 3);
    text.push_str(MARK);
    STANDARD_NO_PAD.encode_string(bytes, &mut text);
    text
}

/// The sealed bytes of a text; none when it was never sealed, whatever it looks like.
fn unmarked(text: &str) -> Option<Vec<u8>> {
    let bytes = STANDARD_NO_PAD.decode(text.strip_prefix(MARK)?).ok()?;
    bytes.starts_with(&MAGIC).then_some(bytes)
}

impl Tx {
    /// Seals values of a column before they are written. `places` says of each its tenant and what names its row (as the
    /// column's key says, joined by `/`). Of a tenant who does not want it they stay clear.
    ///
    /// # Errors
    /// When a key is not available.
    pub async fn seal<'v, R, V>(
        &mut self,
        column: Column,
        places: impl IntoIterator<Item = (&'v str, R)>,
        values: impl IntoIterator<Item = &'v mut V>,
    ) -> Result<(), Error>
    where
        R: Display + Send,
        V: Form + 'v,
    {
        let vault = self.vault();
        let mut wanted = Vec::new();
        for ((tenant, row), value) in places.into_iter().zip(values) {
            if vault.wants(tenant) && !value.is_empty() {
                wanted.push((tenant, row, value));
            } else {
                value.escape();
            }
        }
        if wanted.is_empty() {
            return Ok(());
        }
        let tenants: BTreeSet<&str> = wanted.iter().map(|(tenant, ..)| *tenant).collect();
        let keys = vault.keys_of_now(self, &tenants).await?;
        for (tenant, row, value) in wanted {
            let key = keys
                .get(tenant)
                .ok_or_else(|| Error::internal("a tenant without a data key"))?;
            let place = column.place(vault.schema(), tenant, &row);
            value.set_sealed(key.seal(&place, &value.to_clear())?);
        }
        Ok(())
    }

    /// Opens values of a column that were read. What is clear stays as it is.
    ///
    /// # Errors
    /// When a key is not available ([`crate::Kind::Unavailable`]: what waits is held until it is), or a value was changed
    /// or belongs to another row.
    pub async fn open<'v, R, V>(
        &mut self,
        column: Column,
        values: impl IntoIterator<Item = (&'v str, R, &'v mut V)>,
    ) -> Result<(), Error>
    where
        R: Display + Send,
        V: Form + 'v,
    {
        let mut wanted = Vec::new();
        for (tenant, row, value) in values {
            match value.sealed() {
                Some(bytes) => wanted.push((tenant, row, value, bytes)),
                None => value.unescape(),
            }
        }
        if wanted.is_empty() {
            return Ok(());
        }
        let vault = self.vault();
        let mut ids: BTreeSet<(&str, Uuid)> = BTreeSet::new();
        for (tenant, row, _, bytes) in &wanted {
            let id = vault::key_id(bytes).ok_or_else(|| broken(column, row))?;
            ids.insert((tenant, id));
        }
        let keys = vault.keys_by_id(self, &ids).await?;
        for (tenant, row, value, bytes) in wanted {
            let opened = vault::key_id(&bytes)
                .and_then(|id| keys.get(&(tenant.to_owned(), id)))
                .and_then(|key| key.open(&column.place(vault.schema(), tenant, &row), &bytes));
            if !opened.is_some_and(|clear| value.set_clear(clear)) {
                return Err(broken(column, &row));
            }
        }
        Ok(())
    }
}

fn broken(column: Column, row: &dyn Display) -> Error {
    Error::internal(format!(
        "{}.{} of row {row} does not open: it was changed, or sealed for another row or tenant",
        column.table, column.column
    ))
}

/// Ids that stand in a text or an encoded message: by them is found what is sealed.
pub(crate) fn ids_in(bytes: &[u8]) -> Vec<Uuid> {
    const LENGTH: usize = 36;
    let mut found = BTreeSet::new();
    let mut rest = bytes;
    while rest.len() >= LENGTH {
        let id = std::str::from_utf8(&rest[..LENGTH])
            .ok()
            .filter(|text| text.as_bytes()[8] == b'-')
            .and_then(|text| Uuid::try_parse(text).ok());
        rest = match id {
            Some(id) => {
                found.insert(id);
                &rest[LENGTH..]
            }
            None => &rest[1..],
        };
    }
    found.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_that_looks_sealed_stays_what_was_written() {
        for written in [
            "ciao",
            "\u{1}sealed:AAEA",
            "\u{1}clear:x",
            "\u{1}clear:\u{1}sealed:AAEA",
        ] {
            let mut text = written.to_owned();
            text.escape();
            assert_eq!(text.sealed(), None, "{written:?}");
            text.unescape();
            assert_eq!(text, written);
        }
    }

    #[test]
    fn ids_are_found_among_other_bytes() {
        let one = "0197a3c1-0000-7000-8000-000000000001";
        let bytes = [b"\n$".as_slice(), one.as_bytes(), b"\x12\x03abc", one.as_bytes()].concat();
        assert_eq!(ids_in(&bytes), [Uuid::try_parse(one).expect("an id")]);
        assert_eq!(ids_in(b"short"), Vec::<Uuid>::new());
        assert_eq!(ids_in(&[0xff; 80]), Vec::<Uuid>::new());
    }
}
