//! What may happen in a story.

use proptest::prelude::*;

use super::reference::{Handle, Kind, Source, Trust};

#[derive(Debug, Clone)]
pub enum Step {
    /// A delivery or a record shows these handles, the party's first, and says what the person is called and speaks.
    See {
        source: Source,
        handles: Vec<(Handle, Trust)>,
        name: Option<&'static str>,
        language: Option<&'static str>,
    },
    /// Something old comes once more.
    Again(usize),
    /// A person joins the owners of two handles.
    Merge(Handle, Handle),
    /// A person undoes a merge.
    Split(usize),
    /// Whoever holds a handle is forgotten.
    Erase(Handle),
    /// A person says what the owner of a handle is called.
    Rename(Handle, &'static str),
    /// The owner of a handle agrees to advertising, or refuses it.
    Agree(Handle, bool),
}

/// Few enough that they meet.
const HANDLES: [(Kind, u8); 7] = [
    (Kind::Email, 3),
    (Kind::Phone, 2),
    (Kind::Whatsapp, 2),
    (Kind::Crm, 3),
    (Kind::Cookie, 3),
    (Kind::Device, 1),
    (Kind::Loyalty, 2),
];
const NAMES: [&str; 5] = ["Anna", "Annalisa", "Nina", "Bruno", "Dora"];
const LANGUAGES: [&str; 3] = ["it", "en", "de"];

pub fn all_handles() -> Vec<Handle> {
    let of = |(kind, count)| (0..count).map(move |number| Handle(kind, number));
    HANDLES.into_iter().flat_map(of).collect()
}

fn handle() -> impl Strategy<Value = Handle> {
    prop::sample::select(all_handles())
}

fn shown() -> impl Strategy<Value = Vec<(Handle, Trust)>> {
    let trust = prop_oneof![
        7 => Just(Trust::Observed),
        2 => Just(Trust::Claimed),
        1 => Just(Trust::Verified),
    ];
    prop::collection::vec((handle(), trust), 1..4).prop_map(|given| {
        let mut shown: Vec<(Handle, Trust)> = Vec::new();
        for (handle, trust) in given {
            // One delivery names nobody by two ids in the books, and a telephone not twice.
            let same_line = |a: Handle| match (a.0, handle.0) {
                (Kind::Crm, Kind::Crm) => true,
                (Kind::Whatsapp, Kind::Phone) | (Kind::Phone, Kind::Whatsapp) => a.1 == handle.1,
                _ => a == handle,
            };
            if !shown.iter().any(|(h, _)| same_line(*h)) {
                shown.push((handle, trust));
            }
        }
        shown
    })
}

pub fn steps() -> impl Strategy<Value = Vec<Step>> {
    let source = prop_oneof![
        5 => Just(Source::Door(false)),
        1 => Just(Source::Door(true)),
        2 => Just(Source::Crm),
        1 => Just(Source::Shop),
        1 => Just(Source::Till),
    ];
    let name = prop::option::of(prop::sample::select(NAMES.to_vec()));
    let language = prop::option::of(prop::sample::select(LANGUAGES.to_vec()));
    let see = (source, shown(), name, language).prop_map(|(source, handles, name, language)| Step::See {
        source,
        handles,
        name,
        language,
    });
    let step = prop_oneof![
        12 => see,
        4 => any::<usize>().prop_map(Step::Again),
        4 => (handle(), handle()).prop_map(|(a, b)| Step::Merge(a, b)),
        4 => any::<usize>().prop_map(Step::Split),
        1 => handle().prop_map(Step::Erase),
        2 => (handle(), prop::sample::select(NAMES.to_vec())).prop_map(|(h, name)| Step::Rename(h, name)),
        2 => (handle(), any::<bool>()).prop_map(|(h, agreed)| Step::Agree(h, agreed)),
    ];
    prop::collection::vec(step, 16..32)
}
