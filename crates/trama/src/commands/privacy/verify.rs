//! `trama privacy verify`: a signed report, or an export whose files are what was signed.

use std::{collections::BTreeMap, io::Read, path::PathBuf, process::ExitCode};

use anyhow::{Context as _, bail, ensure};
use clap::Args;
use ring::digest::{SHA256, digest};
use serde::Deserialize;
use trama_platform::privacy::SignedReport;

/// The signed list of an export's files.
const MANIFEST: &str = "manifest.json";

/// Check a signature.
#[derive(Args)]
pub struct Verify {
    /// The report, or the tar file of an export; `-` reads standard input.
    file: PathBuf,
    /// The key that it must be signed with, as `trama privacy key` prints it. Without it, only that nothing was changed
    /// since it was signed is checked, not by whom.
    #[arg(long)]
    key: Option<String>,
}

/// What a manifest says.
#[derive(Deserialize)]
struct Listed {
    files: BTreeMap<String, Entry>,
}

#[derive(Deserialize, PartialEq, Eq)]
struct Entry {
    bytes: usize,
    sha256: String,
}

impl Verify {
    /// Does it.
    pub fn execute(self) -> anyhow::Result<ExitCode> {
        let mut bytes = Vec::new();
        if self.file.as_os_str() == "-" {
            std::io::stdin().read_to_end(&mut bytes)?;
        } else {
            bytes = std::fs::read(&self.file)
                .with_context(|| format!("{} cannot be read", self.file.display()))?;
        }
        match verify(&bytes, self.key.as_deref()) {
            Ok((words, report)) => {
                eprintln!("{words}");
                println!("{report}");
                Ok(ExitCode::SUCCESS)
            }
            Err(problem) => {
                eprintln!("{problem:#}");
                Ok(ExitCode::FAILURE)
            }
        }
    }
}

/// Says how it holds, and what was signed.
fn verify(bytes: &[u8], key: Option<&str>) -> anyhow::Result<(String, String)> {
    if bytes.trim_ascii_start().starts_with(b"{") {
        let signed = serde_json::from_slice(bytes).context("this is no signed report")?;
        let words = holds(&signed, key)?;
        return Ok((words, signed.report));
    }
    let mut files = read(bytes).context("this is neither a signed report nor the tar file of an export")?;
    let manifest = files
        .remove(MANIFEST)
        .context("there is no manifest.json: the export is not whole, or older than signatures")?;
    let signed: SignedReport =
        serde_json::from_slice(&manifest).context("manifest.json is no signed list")?;
    let words = holds(&signed, key)?;
    let listed: Listed = serde_json::from_str(&signed.report).context("manifest.json lists no files")?;
    for (name, entry) in &listed.files {
        let content = files.remove(name).with_context(|| format!("{name} is missing"))?;
        let found = Entry {
            bytes: content.len(),
            sha256: hex::encode(digest(&SHA256, &content)),
        };
        ensure!(found == *entry, "{name} was changed after it was signed");
    }
    if let Some((name, _)) = files.first_key_value() {
        bail!("{name} was added after it was signed");
    }
    Ok((
        format!("{} files are as they were signed; {words}", listed.files.len()),
        signed.report,
    ))
}

fn holds(signed: &SignedReport, key: Option<&str>) -> anyhow::Result<String> {
    ensure!(
        signed.holds(),
        "the signature does not hold: it was changed after it was signed"
    );
    match key {
        Some(key) if key != signed.public_key => {
            bail!(
                "the signature holds, but it is another key's: {}",
                signed.public_key
            )
        }
        Some(_) => Ok("the signature holds, and it is that key's".to_owned()),
        None => Ok(format!(
            "the signature holds; it is the key's {}",
            signed.public_key
        )),
    }
}

fn read(bytes: &[u8]) -> anyhow::Result<BTreeMap<String, Vec<u8>>> {
    let mut files = BTreeMap::new();
    for file in tar::Archive::new(bytes).entries()? {
        let mut file = file?;
        let name = file
            .path()?
            .to_str()
            .context("a name that is no text")?
            .to_owned();
        let mut content = Vec::new();
        file.read_to_end(&mut content)?;
        // Whoever takes the files out would see one of the two only.
        ensure!(
            files.insert(name.clone(), content).is_none(),
            "{name} is there twice"
        );
    }
    ensure!(!files.is_empty(), "there are no files");
    Ok(files)
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use trama_platform::{config::PrivacyConfig, privacy::PrivacyKeys};

    use super::*;

    fn keys() -> PrivacyKeys {
        PrivacyKeys::new(&PrivacyConfig {
            secret: "a secret of the test".into(),
        })
    }

    fn tar(files: &[(&str, &[u8])]) -> Vec<u8> {
        let mut archive = tar::Builder::new(Vec::new());
        for (name, content) in files {
            let mut header = tar::Header::new_gnu();
            header.set_size(content.len() as u64);
            archive.append_data(&mut header, name, *content).expect("a file");
        }
        archive.into_inner().expect("a tar file")
    }

    fn manifest(files: &[(&str, &[u8])]) -> Vec<u8> {
        let listed: BTreeMap<_, _> = files
            .iter()
            .map(|(name, content)| {
                let sha256 = hex::encode(digest(&SHA256, content));
                (*name, json!({"bytes": content.len(), "sha256": sha256}))
            })
            .collect();
        let signed = keys().sign(json!({"files": listed}).to_string()).expect("a key");
        serde_json::to_vec(&signed).expect("JSON")
    }

    fn problem(files: &[(&str, &[u8])], key: Option<&str>) -> String {
        format!("{:#}", verify(&tar(files), key).expect_err("refused"))
    }

    #[test]
    fn an_export_holds_as_it_was_signed_and_no_other_way() {
        let case: (&str, &[u8]) = ("case.json", b"{}");
        let photo: (&str, &[u8]) = ("attachments/1-photo", b"pixels");
        let list = manifest(&[case, photo]);
        let signed = ("manifest.json", list.as_slice());
        let key = keys().public_key().expect("a key");
        let (words, report) = verify(&tar(&[case, photo, signed]), Some(&key)).expect("it holds");
        assert!(
            words.starts_with("2 files") && words.ends_with("that key's"),
            "{words}"
        );
        assert!(report.contains("photo"));

        assert_eq!(problem(&[case, signed], None), "attachments/1-photo is missing");
        let changed: (&str, &[u8]) = ("case.json", b"[]");
        assert_eq!(
            problem(&[changed, photo, signed], None),
            "case.json was changed after it was signed"
        );
        let added: (&str, &[u8]) = ("survey.json", b"{}");
        assert_eq!(
            problem(&[case, photo, added, signed], None),
            "survey.json was added after it was signed"
        );
        assert!(problem(&[case, case, photo, signed], None).ends_with("case.json is there twice"));
        assert!(problem(&[case, photo], None).starts_with("there is no manifest.json"));
        assert!(problem(&[case, photo, signed], Some("00")).contains("another key's"));
        let mut forged: SignedReport = serde_json::from_slice(&list).expect("a list");
        forged.report = forged.report.replace("case.json", "oase.json");
        let forged = serde_json::to_vec(&forged).expect("JSON");
        assert!(problem(&[case, photo, ("manifest.json", &forged)], None).contains("does not hold"));
    }

    #[test]
    fn a_report_alone_is_checked_too_and_other_files_are_named_as_such() {
        let signed = keys().sign("{\"report\": \"erasure\"}".into()).expect("a key");
        let text = serde_json::to_vec(&signed).expect("JSON");
        assert_eq!(verify(&text, None).expect("it holds").1, signed.report);
        let neither = format!("{:#}", verify(b"hello", None).expect_err("refused"));
        assert!(neither.starts_with("this is neither"), "{neither}");
    }
}
