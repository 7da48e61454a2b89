//! The models in force: one per tenant, trained when its Intent resources change, never in between.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, Mutex, PoisonError},
};

use arc_swap::ArcSwap;
use sha2::{Digest as _, Sha256};
use trama_proto::{
    ids::TenantId,
    resources::{IntentSpec, Resources},
};

use super::classifier::{Classifier, Guess, Sure};

type Intents = BTreeMap<String, Arc<IntentSpec>>;

/// A tenant's model and what it was learnt from.
#[derive(Debug)]
pub struct Model {
    intents: Intents,
    languages: BTreeSet<String>,
    classifier: Classifier,
    sure: Sure,
    version: String,
}

impl Model {
    /// Learns from the examples of intents; guesses count when `sure`.
    pub fn train(intents: &Intents, sure: Sure) -> Self {
        let examples = || {
            intents.iter().flat_map(|(name, spec)| {
                spec.examples
                    .values()
                    .flatten()
                    .map(move |text| (name.as_str(), text.as_str()))
            })
        };
        let mut hash = Sha256::new();
        for (name, text) in examples() {
            hash.update(name);
            hash.update([0]);
            hash.update(text);
            hash.update([0]);
        }
        let version = hash
            .finalize()
            .iter()
            .take(6)
            .map(|b| format!("{b:02x}"))
            .collect();
        Self {
            intents: intents.clone(),
            languages: intents
                .values()
                .flat_map(|s| s.examples.keys().cloned())
                .collect(),
            classifier: Classifier::train(examples()),
            sure,
            version,
        }
    }

    /// What a text is about.
    pub fn guess(&self, text: &str) -> Guess {
        self.classifier.guess(text, self.sure)
    }

    /// Languages that the tenant's customers are expected to speak.
    pub fn languages(&self) -> &BTreeSet<String> {
        &self.languages
    }

    /// Whether it was learnt from these intents.
    fn knows(&self, intents: &Intents) -> bool {
        self.intents.len() == intents.len()
            && self
                .intents
                .iter()
                .zip(intents)
                .all(|((name, spec), (other, its))| {
                    name == other && (Arc::ptr_eq(spec, its) || spec.examples == its.examples)
                })
    }
}

/// The models in force.
#[derive(Debug)]
pub struct Models {
    sure: Sure,
    current: ArcSwap<HashMap<TenantId, Arc<Model>>>,
    training: Mutex<()>,
}

impl Models {
    /// None yet; their guesses will count when `sure`.
    pub fn new(sure: Sure) -> Self {
        Self {
            sure,
            current: ArcSwap::default(),
            training: Mutex::default(),
        }
    }

    /// Trains what is not trained yet; at start, so that the first batch does not pay for it.
    pub fn warm(&self, resources: &Resources) {
        for (tenant, _) in resources.tenants() {
            self.of(tenant, resources);
        }
    }

    /// The model of a tenant for the resources in force.
    pub fn of(&self, tenant: &TenantId, resources: &Resources) -> Arc<Model> {
        static NONE: Intents = BTreeMap::new();
        let intents = resources.tenant(tenant).map_or(&NONE, |t| &t.intents);
        let known = || {
            self.current
                .load()
                .get(tenant)
                .filter(|m| m.knows(intents))
                .cloned()
        };
        if let Some(model) = known() {
            return model;
        }
        let _one_at_a_time = self.training.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(model) = known() {
            return model;
        }
        let started = std::time::Instant::now();
        let model = Arc::new(Model::train(intents, self.sure));
        metrics::counter!("trama_case_models_trained_total").increment(1);
        metrics::histogram!("trama_case_model_training_seconds").record(started.elapsed().as_secs_f64());
        tracing::info!(%tenant, version = model.version, intents = intents.len(), "trained the intent model");
        self.current.rcu(|models| {
            let mut models = HashMap::clone(models);
            models.insert(tenant.clone(), Arc::clone(&model));
            models
        });
        model
    }
}
