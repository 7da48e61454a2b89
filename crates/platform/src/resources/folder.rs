//! Resources from a folder of YAML files.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};

use async_trait::async_trait;
use serde::Deserialize as _;
use trama_proto::resources::Document;

use super::Source;
use crate::{Error, Kind};

/// A folder of YAML files, read recursively. `${NAME}` and `${NAME:-default}` are taken from `variables`, then from
/// the environment.
pub struct Folder {
    /// Where the files lie.
    pub dir: PathBuf,
    /// Values that go before the environment's.
    pub variables: BTreeMap<String, String>,
}

#[async_trait]
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

    /// A folder is looked at again and again: watches do not see through the links of a mounted ConfigMap.
    async fn changed(&self) {
        tokio::time::sleep(Duration::from_secs(1)).await;
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

fn expand(text: &str, variables: &BTreeMap<String, String>) -> Result<String, String> {
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
