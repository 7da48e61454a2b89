//! Random stories against a naive model: what is observed, joined, parted and erased, each thing doubled and much of it once
//! more later, comes to the same customers with the same fields.
//!
//! The same stories in every run. `TRAMA_TEST_SEQUENCES=500` plays more of them, `TRAMA_TEST_SEED=7000` others; a story that
//! fails says by which seed it alone is played again.
//!
//! Matching by what people are called is switched off here: it weighs, and has tests of its own.

mod any_order;
mod played;
mod reference;
mod stories;

use std::time::Duration;

use futures::future::join_all;
use proptest::{
    prelude::*,
    strategy::ValueTree as _,
    test_runner::{Config, RngAlgorithm, TestRng, TestRunner},
};
use trama_testkit::TestApp;

use self::{
    played::Played,
    stories::{Step, steps},
};

/// Stories that are played side by side: a step of each, then all is settled.
const AT_ONCE: usize = 16;

fn seeds(usual: usize) -> Vec<u64> {
    let number = |name: &str| std::env::var(name).ok().and_then(|n| n.parse().ok());
    let first: u64 = number("TRAMA_TEST_SEED").unwrap_or(1);
    let most = number("TRAMA_TEST_SEQUENCES").unwrap_or(usual as u64);
    (first..first + most).collect()
}

/// What a strategy makes of a seed.
fn of_seed<S: Strategy>(strategy: &S, seed: u64) -> S::Value {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_be_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    strategy.new_tree(&mut runner).expect("a value").current()
}

async fn start(tenants: &[String]) -> TestApp {
    let policy = |tenant: &String| {
        format!(
            "apiVersion: trama.dev/v1alpha1
kind: MatchingPolicy
metadata: {{name: default, namespace: {tenant}}}
spec:
  sharedHandles: [\"phone:+390299999999\"]
  sharedAfterCustomers: 1000
  similarity: {{enabled: false}}
  survivorship: {{sources: [crm, shop]}}
"
        )
    };
    let policies: Vec<String> = tenants.iter().map(policy).collect();
    TestApp::builder(&[trama_identity_resolution::service()])
        .resources(&policies.join("---\n"))
        .configure(|config| config.privacy.secret = "a secret of the test, long enough".into())
        .start()
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn any_story_ends_as_the_naive_model_says() {
    for seeds in seeds(AT_ONCE).chunks(AT_ONCE) {
        let tenants: Vec<String> = seeds.iter().map(|seed| format!("story{seed}")).collect();
        let app = start(&tenants).await;
        let stories: Vec<Vec<Step>> = seeds.iter().map(|seed| of_seed(&steps(), *seed)).collect();
        let mut played: Vec<Played<'_>> = seeds
            .iter()
            .zip(&tenants)
            .map(|(seed, tenant)| Played::new(&app, tenant, *seed))
            .collect();
        let longest = stories.iter().map(Vec::len).max().unwrap_or_default();
        for now in 0..longest {
            // Longer than what counts as one sighting.
            app.advance(Duration::from_secs(61)).await;
            let steps = stories.iter().map(|story| story.get(now));
            let mut at_work: Vec<_> = played
                .iter_mut()
                .zip(steps)
                .filter_map(|(p, s)| Some((p, s?)))
                .collect();
            join_all(at_work.iter_mut().map(|(played, step)| played.take(step))).await;
            app.settle().await;
            join_all(at_work.iter_mut().map(|(played, _)| played.compare())).await;
        }
        // Undone to the last, everybody has what came to them by their own evidence.
        join_all(played.iter_mut().map(Played::undo_everything)).await;
        join_all(played.iter_mut().map(Played::compare)).await;
        app.stop().await;
    }
}
