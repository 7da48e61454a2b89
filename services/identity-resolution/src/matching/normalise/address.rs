//! Postal addresses: Italian, British and Australian ways of writing them, folded.

use super::{family, fold};
use crate::matching::{
    facts::Keyed,
    hash::{StableHasher, ValueKey},
};

/// An address as it was written, in as many fields as the source has.
#[derive(Debug, Clone, Copy, Default)]
pub struct AddressText<'a> {
    /// Street, perhaps with the number.
    pub street: &'a str,
    /// Number of the house.
    pub number: &'a str,
    /// Building, flat, estate.
    pub building: &'a str,
    /// Town or suburb.
    pub locality: &'a str,
    /// State or province.
    pub region: &'a str,
    /// Postal code.
    pub postal_code: &'a str,
}

/// A part of an address with its hash.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Part {
    /// The text; empty when unknown.
    pub text: Box<str>,
    /// Its hash.
    pub key: ValueKey,
}

/// An address; unknown parts are empty.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Address {
    /// Street without its number.
    pub street: Part,
    /// Number of the house.
    pub number: Part,
    /// Building, flat, estate.
    pub building: Part,
    /// Town or suburb.
    pub locality: Part,
    /// State or province.
    pub region: Part,
    /// Postal code.
    pub postal_code: Part,
    /// Hash of all.
    pub key: ValueKey,
}

/// Abbreviations of whole words, as they stand after dots became blanks.
const WORDS: &[(&str, &str)] = &[
    ("v", "via"),
    ("vle", "viale"),
    ("v le", "viale"),
    ("c so", "corso"),
    ("cso", "corso"),
    ("p zza", "piazza"),
    ("pzza", "piazza"),
    ("p za", "piazza"),
    ("pza", "piazza"),
    ("p le", "piazzale"),
    ("ple", "piazzale"),
    ("l go", "largo"),
    ("lgo", "largo"),
    ("vic", "vicolo"),
    ("vlo", "vicolo"),
    ("str", "strada"),
    ("fraz", "frazione"),
    ("loc", "localita"),
    ("s", "san"),
    ("ss", "santissimi"),
    ("st", "street"),
    ("rd", "road"),
    ("ave", "avenue"),
    ("av", "avenue"),
    ("dr", "drive"),
    ("pl", "place"),
    ("cres", "crescent"),
    ("crt", "court"),
    ("ct", "court"),
    ("cct", "circuit"),
    ("hwy", "highway"),
    ("tce", "terrace"),
    ("terr", "terrace"),
    ("sq", "square"),
    ("ln", "lane"),
    ("cl", "close"),
    ("gr", "grove"),
    ("gdns", "gardens"),
    ("pde", "parade"),
    ("blvd", "boulevard"),
    ("mt", "mount"),
    ("nth", "north"),
    ("sth", "south"),
    ("apt", "apartment"),
    ("bldg", "building"),
    ("rtmnt", "retirement"),
    ("retrmnt", "retirement"),
    ("vlge", "village"),
];

impl Address {
    /// Reads an address.
    #[must_use]
    pub fn parse(text: AddressText<'_>) -> Option<Self> {
        let mut street = words(text.street);
        let mut number = house_number(text.number);
        if number.is_empty() {
            (street, number) = split_number(street);
        }
        let postal: String = fold(text.postal_code)
            .chars()
            .filter(char::is_ascii_alphanumeric)
            .collect();
        let building = words(text.building);
        let (locality, region) = (words(text.locality), words(text.region));
        if street.is_empty()
            && number.is_empty()
            && building.is_empty()
            && locality.is_empty()
            && postal.is_empty()
        {
            return None;
        }
        let key = StableHasher::new(family::ADDRESS)
            .part(&street)
            .part(&number)
            .part(&building)
            .part(&locality)
            .part(&region)
            .part(&postal)
            .value();
        Some(Self {
            street: part(street, family::STREET),
            number: part(number, family::NUMBER),
            building: part(building, family::BUILDING),
            locality: part(locality, family::LOCALITY),
            region: part(region, family::REGION),
            postal_code: part(postal, family::POSTAL_CODE),
            key,
        })
    }

    /// Keys of the parts that are frequent or rare.
    pub(crate) fn counted(&self) -> impl Iterator<Item = ValueKey> {
        [
            &self.street,
            &self.building,
            &self.locality,
            &self.postal_code,
            &self.region,
        ]
        .into_iter()
        .filter(|p| !p.text.is_empty())
        .map(|p| p.key)
        .collect::<Vec<_>>()
        .into_iter()
    }
}

impl Keyed for Address {
    fn key(&self) -> ValueKey {
        self.key
    }
}

fn part(text: String, family: u8) -> Part {
    if text.is_empty() {
        return Part::default();
    }
    Part {
        key: StableHasher::new(family).part(&text).value(),
        text: text.into(),
    }
}

fn words(text: &str) -> String {
    if text.trim().is_empty() {
        return String::new();
    }
    let folded = fold(text);
    let mut out = String::with_capacity(folded.len());
    let mut rest = folded
        .split(|c: char| !c.is_ascii_alphanumeric())
        .filter(|w| !w.is_empty())
        .peekable();
    while let Some(word) = rest.next() {
        if !out.is_empty() {
            out.push(' ');
        }
        // `C.so`, `V.le`, `P.zza` fall into two words; they are one abbreviation.
        if word.len() == 1
            && let Some(next) = rest.peek()
            && let Some(full) = abbreviation(word, next)
        {
            out.push_str(full);
            rest.next();
            continue;
        }
        out.push_str(
            WORDS
                .iter()
                .find(|(short, _)| *short == word)
                .map_or(word, |(_, full)| full),
        );
    }
    out
}

fn abbreviation(first: &str, second: &str) -> Option<&'static str> {
    WORDS
        .iter()
        .find(|(short, _)| {
            short
                .split_once(' ')
                .is_some_and(|(a, b)| a == first && b == second)
        })
        .map(|(_, full)| *full)
}

fn house_number(text: &str) -> String {
    fold(text)
        .chars()
        .filter(|c| c.is_ascii_alphanumeric() || *c == '/')
        .collect::<String>()
        .trim_matches('/')
        .to_owned()
}

fn split_number(street: String) -> (String, String) {
    let digits = |w: &str| w.bytes().next().is_some_and(|b| b.is_ascii_digit()) && w.len() <= 6;
    if let Some((name, last)) = street.rsplit_once(' ')
        && digits(last)
    {
        return (name.to_owned(), last.to_owned());
    }
    if let Some((first, name)) = street.split_once(' ')
        && digits(first)
    {
        return (name.to_owned(), first.to_owned());
    }
    (street, String::new())
}
