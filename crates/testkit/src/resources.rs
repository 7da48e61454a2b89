//! Resources from YAML in a test.

use serde::Deserialize as _;
use trama_proto::resources::{Document, Resources};

/// Valid resources.
///
/// # Panics
/// When one of them is not.
pub fn resources(yaml: &str) -> Resources {
    let mut documents = Vec::new();
    for (number, document) in serde_norway::Deserializer::from_str(yaml).enumerate() {
        let content = serde_json::Value::deserialize(document).expect("the test's YAML is YAML");
        if !content.is_null() {
            documents.push(Document {
                origin: format!("test#{}", number + 1),
                content,
            });
        }
    }
    let (resources, problems) = Resources::build(&documents, &Resources::default());
    assert!(problems.is_empty(), "the test's resources: {problems:?}");
    resources
}
