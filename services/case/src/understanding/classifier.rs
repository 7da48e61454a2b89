//! Multinomial logistic regression over hashed n-grams, trained at start from the examples of the Intent resources.
//!
//! Recipe and measurements: `docs/explanation` (understanding). Deterministic: the same examples give the same model.

use super::{
    features::{GROUPS, Hit, hits, tokens},
    small_talk::{GREETINGS, SMALL_TALK},
};

/// Passes over the examples.
const EPOCHS: usize = 20;
/// Longest text that is looked at: needs are said at the beginning.
const LONGEST: usize = 2_000;

/// What the model thinks of a text.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Guess {
    /// Name of the intent; empty when it is not sure.
    pub intent: String,
    /// Its probability; of the best intent when it is not sure.
    pub probability: f64,
    /// The words that decided, the strongest first.
    pub evidence: Vec<String>,
}

/// A trained model.
#[derive(Debug)]
pub struct Classifier {
    /// Intents; the last class, not named here, is "none of them".
    labels: Vec<String>,
    bits: u32,
    idf: Vec<f32>,
    /// Inverse document frequency of what no example contains.
    idf_unseen: f32,
    /// By slot, then by class.
    weights: Vec<f32>,
    bias: Vec<f32>,
}

struct Features {
    values: Vec<(u32, f32)>,
}

/// When a guess may be acted on.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sure {
    /// The least probability.
    pub threshold: f64,
    /// The least distance to the runner-up.
    pub margin: f64,
}

impl Classifier {
    /// Learns from examples of labels. No label, no model: everything is unknown.
    pub fn train<'a>(examples: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let mut labels: Vec<String> = Vec::new();
        let mut texts: Vec<(usize, Vec<String>)> = Vec::new();
        for (label, text) in examples {
            let class = labels.iter().position(|l| l == label).unwrap_or_else(|| {
                labels.push(label.to_owned());
                labels.len() - 1
            });
            texts.push((class, tokens(text)));
        }
        let none = labels.len();
        texts.extend(SMALL_TALK.iter().map(|text| (none, tokens(text))));
        let bits = if texts.len() < 1_000 { 15 } else { 17 };
        let mut model = Self {
            bits,
            idf: vec![0.0; 1 << bits],
            idf_unseen: 0.0,
            weights: vec![0.0; (none + 1) << bits],
            bias: vec![0.0; none + 1],
            labels,
        };
        if none > 0 {
            model.weigh(&texts);
            model.learn(&texts);
        }
        model
    }

    #[expect(clippy::cast_precision_loss, reason = "counts of examples are small")]
    fn weigh(&mut self, texts: &[(usize, Vec<String>)]) {
        let mut counts = vec![0_u32; self.idf.len()];
        for (_, text) in texts {
            for group in hits(text, self.bits) {
                let mut last = None;
                for hit in group {
                    if last != Some(hit.slot) {
                        counts[hit.slot as usize] += 1;
                        last = Some(hit.slot);
                    }
                }
            }
        }
        let all = 1.0 + texts.len() as f32;
        for (idf, count) in self.idf.iter_mut().zip(counts) {
            if count > 0 {
                *idf = (all / (1.0 + count as f32)).ln() + 1.0;
            }
        }
        self.idf_unseen = all.ln() + 1.0;
    }

    #[expect(clippy::cast_precision_loss, reason = "counts of examples are small")]
    fn learn(&mut self, texts: &[(usize, Vec<String>)]) {
        let classes = self.bias.len();
        let examples: Vec<(usize, Features)> = texts
            .iter()
            .map(|(class, text)| (*class, self.features(&hits(text, self.bits))))
            .collect();
        let mut per_class = vec![0_usize; classes];
        for (class, _) in &examples {
            per_class[*class] += 1;
        }
        // A class with few examples counts as much as one with many, within reason.
        let mean = examples.len() as f32 / classes as f32;
        let importance: Vec<f32> = per_class
            .iter()
            .map(|n| (mean / (*n).max(1) as f32).clamp(0.4, 2.5))
            .collect();
        let (eta0, decay) = if classes >= 20 {
            (2.0_f32, 0.0_f32)
        } else {
            (2.0, 1e-4)
        };
        let total = (EPOCHS * examples.len()) as f32;
        let mut order: Vec<usize> = (0..examples.len()).collect();
        let mut random = 0x9e37_79b9_7f4a_7c15_u64;
        let mut step = 0_usize;
        let mut scores = vec![0.0_f32; classes];
        for _ in 0..EPOCHS {
            for i in (1..order.len()).rev() {
                random ^= random << 13;
                random ^= random >> 7;
                random ^= random << 17;
                let below = u64::try_from(i).unwrap_or(0) + 1;
                order.swap(i, usize::try_from(random % below).unwrap_or(0));
            }
            for example in &order {
                let (class, features) = &examples[*example];
                let eta = (eta0 * (1.0 - step as f32 / total) + 1e-3) * importance[*class];
                step += 1;
                self.score(features, &mut scores);
                softmax(&mut scores);
                scores[*class] -= 1.0;
                for (slot, value) in &features.values {
                    let row = &mut self.weights[*slot as usize * classes..][..classes];
                    for (weight, gradient) in row.iter_mut().zip(&scores) {
                        *weight -= eta * (gradient * value + decay * *weight);
                    }
                }
                for (bias, gradient) in self.bias.iter_mut().zip(&scores) {
                    *bias -= eta * 0.1 * gradient;
                }
            }
        }
    }

    /// Weighed features, one norm per group. What no example contains has no weight but counts in the norm, so that
    /// a text about something else says little about anything.
    fn features(&self, groups: &[Vec<Hit>; GROUPS]) -> Features {
        let mut values = Vec::with_capacity(groups.iter().map(Vec::len).sum());
        for group in groups {
            let start = values.len();
            let mut norm = 0.0_f32;
            for run in group.chunk_by(|a, b| a.slot == b.slot) {
                let slot = run[0].slot;
                #[expect(clippy::cast_precision_loss, reason = "a text has few tokens")]
                let tf = 1.0 + (run.len() as f32).ln();
                let idf = self.idf[slot as usize];
                if idf > 0.0 {
                    norm += (tf * idf).powi(2);
                    values.push((slot, tf * idf));
                } else {
                    // Half of its worth: new words are normal in a new sentence about an old need.
                    norm += (tf * self.idf_unseen * 0.5).powi(2);
                }
            }
            let scale = if norm > 0.0 { norm.sqrt().recip() } else { 0.0 };
            for (_, value) in &mut values[start..] {
                *value *= scale;
            }
        }
        Features { values }
    }

    fn score(&self, features: &Features, scores: &mut [f32]) {
        let classes = self.bias.len();
        scores.copy_from_slice(&self.bias);
        for (slot, value) in &features.values {
            let row = &self.weights[*slot as usize * classes..][..classes];
            for (score, weight) in scores.iter_mut().zip(row) {
                *score += value * weight;
            }
        }
    }

    /// What a text is about.
    pub fn guess(&self, text: &str, sure: Sure) -> Guess {
        let cut = text.char_indices().nth(LONGEST).map_or(text.len(), |(at, _)| at);
        let mut tokens = tokens(&text[..cut]);
        let is_need = |t: &String| t.chars().any(char::is_alphanumeric) && !GREETINGS.contains(&t.as_str());
        if tokens.iter().filter(|t| is_need(t)).count() >= 2 {
            tokens.retain(|t| !GREETINGS.contains(&t.as_str()));
        }
        if self.labels.is_empty() || tokens.is_empty() {
            return Guess::default();
        }
        let groups = hits(&tokens, self.bits);
        let features = self.features(&groups);
        if features.values.is_empty() {
            return Guess::default();
        }
        let mut scores = vec![0.0; self.bias.len()];
        self.score(&features, &mut scores);
        softmax(&mut scores);
        let mut ranked: Vec<usize> = (0..scores.len()).collect();
        ranked.sort_by(|a, b| scores[*b].total_cmp(&scores[*a]));
        let (best, second) = (ranked[0], ranked[1]);
        let (probability, runner_up) = (f64::from(scores[best]), f64::from(scores[second]));
        match self.labels.get(best) {
            Some(intent) if probability >= sure.threshold && probability - runner_up >= sure.margin => {
                Guess {
                    intent: intent.clone(),
                    probability,
                    evidence: self.evidence(&tokens, &groups, &features, best, second),
                }
            }
            Some(_) => Guess {
                probability,
                ..Guess::default()
            },
            None => Guess {
                probability: runner_up,
                ..Guess::default()
            },
        }
    }

    /// The words that speak most for `best` against `second`.
    fn evidence(
        &self,
        tokens: &[String],
        groups: &[Vec<Hit>; GROUPS],
        features: &Features,
        best: usize,
        second: usize,
    ) -> Vec<String> {
        let classes = self.bias.len();
        let mut by_token = vec![0.0_f32; tokens.len()];
        let mut values = features.values.iter();
        for group in groups {
            for run in group.chunk_by(|a, b| a.slot == b.slot) {
                let slot = run[0].slot as usize;
                if self.idf[slot] <= 0.0 {
                    continue;
                }
                let Some((_, value)) = values.next() else { break };
                let row = &self.weights[slot * classes..][..classes];
                #[expect(clippy::cast_precision_loss, reason = "a text has few tokens")]
                let share = value * (row[best] - row[second]) / run.len() as f32;
                for hit in run {
                    by_token[hit.token as usize] += share;
                }
            }
        }
        let mut ranked: Vec<usize> = (0..tokens.len())
            .filter(|t| by_token[*t] > 0.0 && tokens[*t].chars().count() > 2)
            .collect();
        ranked.sort_by(|a, b| by_token[*b].total_cmp(&by_token[*a]).then(a.cmp(b)));
        let mut words: Vec<String> = Vec::new();
        for token in ranked {
            if !words.contains(&tokens[token]) {
                words.push(tokens[token].clone());
            }
            if words.len() == 3 {
                break;
            }
        }
        words
    }
}

fn softmax(scores: &mut [f32]) {
    let max = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let mut sum = 0.0;
    for score in scores.iter_mut() {
        *score = (*score - max).exp();
        sum += *score;
    }
    for score in scores.iter_mut() {
        *score /= sum;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SURE: Sure = Sure {
        threshold: 0.45,
        margin: 0.12,
    };

    const EXAMPLES: &[(&str, &[&str])] = &[
        (
            "product-fault",
            &[
                "la macchina del caffè perde acqua",
                "la mia macchina non funziona più",
                "si è rotto il prodotto",
                "non si accende",
                "il macinacaffè fa un rumore strano",
                "esce poco caffè dalla macchina",
                "the coffee machine is leaking",
                "my machine is broken",
                "it does not turn on",
            ],
        ),
        (
            "opening-hours",
            &[
                "quali sono gli orari di apertura?",
                "a che ora aprite?",
                "siete aperti la domenica?",
                "fino a che ora siete aperti oggi?",
                "orario del negozio",
                "what are your opening hours?",
                "when do you open?",
                "are you open on Sunday?",
            ],
        ),
        (
            "billing",
            &[
                "ho ricevuto una fattura sbagliata",
                "non capisco un addebito in bolletta",
                "vorrei copia della fattura",
                "mi avete addebitato due volte",
                "quanto devo pagare?",
                "I was charged twice",
                "there is an error in my invoice",
                "I need a copy of my bill",
            ],
        ),
        (
            "talk-to-person",
            &[
                "vorrei parlare con una persona",
                "passami un operatore",
                "voglio parlare con un operatore umano",
                "fatemi chiamare da qualcuno",
                "posso parlare con qualcuno?",
                "I want to talk to a human",
                "let me speak to an agent",
                "connect me to a person",
            ],
        ),
    ];

    fn model() -> Classifier {
        Classifier::train(
            EXAMPLES
                .iter()
                .flat_map(|(label, texts)| texts.iter().map(move |t| (*label, *t))),
        )
    }

    #[test]
    fn clear_sentences_are_understood() {
        let model = model();
        for (text, wanted) in [
            (
                "Macchina che perde\nBuongiorno, la macchina del caffè perde acqua, ordine 4711. In allegato la foto.",
                "product-fault",
            ),
            ("la macchina perde acqua da sotto", "product-fault"),
            ("la macchina del caffè non va, è rotta", "product-fault"),
            ("il prodotto è arrivato rotto", "product-fault"),
            ("buongiorno, mi dite gli orari?", "opening-hours"),
            ("Quali sono i vostri orari di apertura?", "opening-hours"),
            ("a che ora aprite domani", "opening-hours"),
            ("siete aperti sabato?", "opening-hours"),
            ("la fattura di marzo è sbagliata", "billing"),
            ("c'è un addebito che non riconosco", "billing"),
            ("la mia macchina perde acqua e non funziona", "product-fault"),
            ("salve, avete aperto di domenica?", "opening-hours"),
            ("che orari fate il sabato?", "opening-hours"),
            ("vorrei parlare con una persona", "talk-to-person"),
            ("vorrei parlare con una persona, per favore", "talk-to-person"),
            ("operatore", "talk-to-person"),
            ("my coffee machine leaks water", "product-fault"),
            ("what time do you open tomorrow?", "opening-hours"),
        ] {
            let guess = model.guess(text, SURE);
            assert_eq!(guess.intent, wanted, "{text}: {guess:?}");
        }
    }

    #[test]
    fn what_is_no_need_stays_unknown() {
        let model = model();
        for text in [
            "Salve, ci sono novità sulla mia pratica?",
            "mi chiamo Giulia Bianchi e ho 34 anni",
            "vorrei sapere se vendete biciclette elettriche",
            "",
            "ciao",
            "9",
            "grazie mille!",
            "ok",
            "ci sono novità?",
            "xyzzy",
            "il cielo è azzurro sopra Berlino",
        ] {
            let guess = model.guess(text, SURE);
            assert_eq!(guess.intent, "", "{text}: {guess:?}");
        }
    }

    #[test]
    fn the_words_that_decided_are_named() {
        let guess = model().guess("la fattura di marzo è sbagliata", SURE);
        assert!(guess.evidence.iter().any(|w| w == "fattura"), "{guess:?}");
    }

    #[test]
    fn the_same_examples_give_the_same_model() {
        let (one, two) = (model(), model());
        assert_eq!(one.weights, two.weights);
    }

    #[test]
    fn without_intents_everything_is_unknown() {
        assert_eq!(Classifier::train([]).guess("la fattura", SURE), Guess::default());
    }

    proptest! {
        #[test]
        fn no_text_breaks_it(text in "\\PC{0,200}") {
            static MODEL: std::sync::LazyLock<Classifier> = std::sync::LazyLock::new(model);
            let guess = MODEL.guess(&text, SURE);
            prop_assert!((0.0..=1.0).contains(&guess.probability));
        }
    }
}
