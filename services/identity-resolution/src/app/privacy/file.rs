//! The tar file of an export, piece by piece, so that it is never whole in memory.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde_json::json;
use sha2::{Digest as _, Sha256};
use tar::{Builder, Header};
use trama_platform::Error;
use trama_proto::ids::TenantId;
use uuid::Uuid;

/// Name of the signed list of files.
pub const MANIFEST: &str = "manifest.json";

/// Two empty blocks, which end the file.
const END: usize = 1024;

/// A file with its header, filled up to whole blocks.
///
/// # Errors
/// When the name cannot stand in a tar file.
pub fn entry(name: &str, content: &[u8], at: DateTime<Utc>) -> Result<Vec<u8>, Error> {
    let mut header = Header::new_gnu();
    header.set_size(content.len() as u64);
    header.set_mode(0o600);
    header.set_mtime(u64::try_from(at.timestamp()).unwrap_or_default());
    let mut file = Builder::new(Vec::new());
    file.append_data(&mut header, name, content)
        .map_err(Error::internal)?;
    let mut bytes = file.into_inner().map_err(Error::internal)?;
    // More files follow.
    bytes.truncate(bytes.len() - END);
    Ok(bytes)
}

/// The end of the file.
pub fn end() -> Vec<u8> {
    vec![0; END]
}

/// What is in an export, by name: so many bytes with this digest.
#[derive(Debug, Default)]
pub struct Manifest(BTreeMap<String, (usize, String)>);

impl Manifest {
    /// A name that no file has yet: two files of one name would become one when they are taken out.
    pub fn free(&self, name: &str) -> String {
        let mut free = name.to_owned();
        let mut number = 1;
        while self.0.contains_key(&free) {
            number += 1;
            free = format!("{name}.{number}");
        }
        free
    }

    /// Notes a file.
    pub fn add(&mut self, name: &str, content: &[u8]) {
        let digest = hex::encode(Sha256::digest(content));
        self.0.insert(name.to_owned(), (content.len(), digest));
    }

    /// The list, as it is signed. Names of files say which service they are of, nothing of the person.
    pub fn text(&self, tenant: &TenantId, request: Uuid) -> String {
        let files: BTreeMap<&str, _> = self
            .0
            .iter()
            .map(|(name, (bytes, digest))| (name.as_str(), json!({"bytes": bytes, "sha256": digest})))
            .collect();
        let document = json!({
            "report": "files of an export",
            "request": request,
            "tenant": tenant,
            "files": files,
        });
        format!("{document:#}")
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    #[test]
    fn no_two_files_have_one_name_and_the_list_tells_them_apart() {
        let mut manifest = Manifest::default();
        for content in ["one", "two", "three"] {
            let name = manifest.free("attachments/a.jpg");
            manifest.add(&name, content.as_bytes());
        }
        let tenant = "acme".parse().expect("a tenant");
        let list: serde_json::Value =
            serde_json::from_str(&manifest.text(&tenant, Uuid::nil())).expect("JSON");
        // printf two | sha256sum
        assert_eq!(
            list["files"]["attachments/a.jpg.2"]["sha256"],
            "3fc4ccfe745870e2c0d99f71f30ff0656c8dedd41cc1d7d3d376b0dbe685e2f3"
        );
        assert_eq!(list["files"]["attachments/a.jpg.3"]["bytes"], 5);
    }

    #[test]
    fn pieces_are_one_file_with_every_name_and_content() {
        let at = DateTime::from_timestamp(1_780_308_000, 0).expect("a moment");
        let long = format!("attachments/{}.json", "x".repeat(200));
        let mut bytes = entry("case.json", b"{}", at).expect("an entry");
        bytes.extend(entry(&long, b"[]", at).expect("an entry"));
        bytes.extend(end());
        let mut found = Vec::new();
        for file in tar::Archive::new(bytes.as_slice()).entries().expect("a tar file") {
            let mut file = file.expect("an entry");
            let mut content = String::new();
            file.read_to_string(&mut content).expect("text");
            let name = file.path().expect("a name").display().to_string();
            found.push((name, content, file.header().mtime().expect("a time")));
        }
        assert_eq!(
            found,
            [
                ("case.json".to_owned(), "{}".to_owned(), 1_780_308_000),
                (long, "[]".to_owned(), 1_780_308_000)
            ]
        );
    }
}
