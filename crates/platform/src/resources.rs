//! Configuration as resources: one immutable snapshot, swapped as a whole, and the secrets it names.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use serde::Deserialize as _;
use trama_proto::{
    ids::TenantId,
    resources::{Document, Problem, Resources, SecretRef},
};

use crate::{Error, Kind, lifecycle::Lifecycle};

/// Where documents come from. A folder now; a cluster's API server is the second one.
pub trait Source: Send + Sync + 'static {
    /// All documents, or why they cannot be read.
    ///
    /// # Errors
    /// When the source cannot be read as a whole; then the last snapshot stays.
    fn read(&self) -> Result<Vec<Document>, Error>;
}

/// A folder of YAML files, read recursively. `${NAME}` and `${NAME:-default}` are taken from `variables`, then from
/// the environment.
pub struct Folder {
    /// Where the files lie.
    pub dir: PathBuf,
    /// Values that go before the environment's.
    pub variables: std::collections::BTreeMap<String, String>,
}

impl Source for Folder {
    fn read(&self) -> Result<Vec<Document>, Error> {
        let mut files = Vec::new();
        list(&self.dir, &mut files).map_err(|e| unreadable(&self.dir, &e.to_string()))?;
        files.sort();
        let mut documents = Vec::new();
        for file in files {
            let text = std::fs::read_to_string(&file).map_err(|e| unreadable(&file, &e.to_string()))?;
            let text = expand(&text, &self.variables).map_err(|e| unreadable(&file, &e))?;
            for (number, document) in serde_norway::Deserializer::from_str(&text).enumerate() {
                let content = serde_json::Value::deserialize(document)
                    .map_err(|e| unreadable(&file, &e.to_string()))?;
                if !content.is_null() {
                    documents.push(Document {
                        origin: format!("{}#{}", file.display(), number + 1),
                        content,
                    });
                }
            }
        }
        Ok(documents)
    }
}

fn unreadable(path: &Path, problem: &str) -> Error {
    Error::new(Kind::Invalid, format!("{}: {problem}", path.display()))
}

fn list(dir: &Path, into: &mut Vec<PathBuf>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        // A mounted ConfigMap keeps its files in hidden folders as well and shows links to them.
        if entry.file_name().as_encoded_bytes().starts_with(b".") {
            continue;
        }
        let path = entry.path();
        if path.is_dir() {
            list(&path, into)?;
        } else if path.extension().is_some_and(|e| e == "yaml" || e == "yml") {
            into.push(path);
        }
    }
    Ok(())
}

fn expand(text: &str, variables: &std::collections::BTreeMap<String, String>) -> Result<String, String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find("${") {
        out.push_str(&rest[..start]);
        let inner = &rest[start + 2..];
        let end = inner.find('}').ok_or("`${` without `}`")?;
        let (name, default) = match inner[..end].split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (&inner[..end], None),
        };
        match (
            variables.get(name).cloned().or_else(|| std::env::var(name).ok()),
            default,
        ) {
            (Some(value), _) => out.push_str(&value),
            (None, Some(default)) => out.push_str(default),
            (None, None) => {
                return Err(format!(
                    "variable {name} is not set; set it or write ${{{name}:-default}}"
                ));
            }
        }
        rest = &inner[end + 1..];
    }
    out.push_str(rest);
    Ok(out)
}

/// The snapshot in force.
#[derive(Clone)]
pub struct ResourceStore {
    current: Arc<ArcSwap<Resources>>,
}

impl ResourceStore {
    /// With documents from a source, watched from now on. What is invalid at the start is left out and reported.
    ///
    /// # Errors
    /// When the source cannot be read at all.
    pub fn start(source: Option<Arc<dyn Source>>, lifecycle: &Lifecycle) -> Result<Self, Error> {
        let store = Self {
            current: Arc::default(),
        };
        let Some(source) = source else { return Ok(store) };
        let mut seen = source.read()?;
        store.apply(&seen);
        let (watched, stopping) = (store.clone(), lifecycle.stopping());
        lifecycle.spawn("resources", async move {
            loop {
                tokio::select! {
                    () = stopping.cancelled() => return Ok(()),
                    () = tokio::time::sleep(Duration::from_secs(1)) => {}
                }
                match source.read() {
                    Ok(documents) if documents == seen => {}
                    Ok(documents) => {
                        watched.apply(&documents);
                        seen = documents;
                    }
                    Err(error) => {
                        metrics::counter!("trama_resources_unreadable_total").increment(1);
                        tracing::warn!(
                            detail = error.detail(),
                            "resources cannot be read; the last good ones stay"
                        );
                    }
                }
            }
        });
        Ok(store)
    }

    /// With fixed resources, for tests.
    pub fn fixed(resources: Resources) -> Self {
        Self {
            current: Arc::new(ArcSwap::from_pointee(resources)),
        }
    }

    /// Validates and swaps.
    pub fn apply(&self, documents: &[Document]) -> Vec<Problem> {
        let (next, problems) = Resources::build(documents, &self.current.load());
        for problem in &problems {
            tracing::error!(
                origin = problem.origin,
                resource = problem.resource,
                problem = problem.message,
                "resource refused"
            );
        }
        #[expect(clippy::cast_precision_loss, reason = "a gauge is a float")]
        metrics::gauge!("trama_resources_invalid").set(problems.len() as f64);
        self.current.store(Arc::new(next));
        problems
    }

    /// The resources in force now. Hold it for the whole of a decision.
    pub fn snapshot(&self) -> Arc<Resources> {
        self.current.load_full()
    }
}

/// Values that resources name but never hold.
#[derive(Clone)]
pub struct Secrets {
    dir: Option<PathBuf>,
    cache: Arc<std::sync::Mutex<Cache>>,
}

/// When each file was read, and what stood in it.
type Cache = std::collections::HashMap<PathBuf, (Instant, Arc<str>)>;

impl Secrets {
    /// From a folder `<tenant>/<name>/<key>`, or variables `TRAMA_SECRET_<TENANT>_<NAME>_<KEY>`.
    pub fn new(dir: Option<PathBuf>) -> Self {
        Self {
            dir,
            cache: Arc::default(),
        }
    }

    /// The value to send with. A secret of several lines is one in rotation: all of them are accepted, the first is
    /// the one in use.
    ///
    /// # Errors
    /// See [`Secrets::get`].
    pub fn current(&self, tenant: &TenantId, secret: &SecretRef) -> Result<String, Error> {
        let all = self.get(tenant, secret)?;
        Ok(all.lines().next().unwrap_or_default().trim().to_owned())
    }

    /// The value; files are read again after some seconds, so that rotation needs no restart.
    ///
    /// # Errors
    /// When it is nowhere; the message says where it was looked for.
    pub fn get(&self, tenant: &TenantId, secret: &SecretRef) -> Result<Arc<str>, Error> {
        if let Some(dir) = &self.dir {
            let safe =
                |part: &str| !part.is_empty() && !part.contains(['/', '\\']) && part != ".." && part != ".";
            if !safe(&secret.name) || !safe(&secret.key) {
                return Err(Error::invalid(
                    "secretRef",
                    "name and key must be plain file names",
                ));
            }
            let path = dir.join(tenant.as_str()).join(&secret.name).join(&secret.key);
            let mut cache = self
                .cache
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner);
            if let Some((read_at, value)) = cache.get(&path)
                && read_at.elapsed() < Duration::from_secs(5)
            {
                return Ok(Arc::clone(value));
            }
            if let Ok(text) = std::fs::read_to_string(&path) {
                let value: Arc<str> = text.trim_end_matches(['\r', '\n']).into();
                cache.insert(path, (Instant::now(), Arc::clone(&value)));
                return Ok(value);
            }
        }
        let variable = format!("TRAMA_SECRET_{tenant}_{}_{}", secret.name, secret.key)
            .to_uppercase()
            .replace(|c: char| !c.is_ascii_alphanumeric(), "_");
        std::env::var(&variable).map(Into::into).map_err(|_| {
            Error::new(
                Kind::Precondition,
                format!("secret {}/{} of {tenant} is missing: no file in the secrets folder, no variable {variable}", secret.name, secret.key),
            )
        })
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn variables_are_expanded_with_defaults() {
        let variables = [("KNOWN".to_owned(), "k".to_owned())].into();
        let expand = |text| super::expand(text, &variables);
        assert_eq!(
            expand("a ${NO_SUCH_VARIABLE_1:-b} ${KNOWN:-x}"),
            Ok("a b k".to_owned())
        );
        assert!(expand("${NO_SUCH_VARIABLE_1}").is_err());
        assert!(expand("${open").is_err());
    }
}
