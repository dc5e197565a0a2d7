//! Keys and certificates: what will stop working, said before it does.

use std::path::Path;

use jiff::{SignedDuration, Timestamp};
use x509_parser::pem::Pem;

use super::leader::Leader;
use super::settings::Settings;
use crate::error::{Error, Result};
use crate::mongo::certificate_file;
use crate::notify::{Alert, Severity};
use crate::units::Moment;

/// How long before its end a certificate is worth a warning.
const RENEW_BEFORE: SignedDuration = SignedDuration::from_hours(14 * 24);
/// And how long before it somebody must act now.
const CRITICAL_BEFORE: SignedDuration = SignedDuration::from_hours(2 * 24);

/// Looks at every key and certificate that the service uses, and notes what is wrong with one.
pub(super) fn look(leader: &Leader, settings: &Settings) {
    let now = leader.clock.now();
    let signing = settings.config.signing_key().and_then(|key| leader.repository.accept_signer(&key));
    note(
        leader,
        "keys/signing",
        Severity::Critical,
        signing,
        "after the next start no backup and no slice will be accepted",
    );
    let identity = settings.config.identities().map(drop);
    note(
        leader,
        "keys/identity",
        Severity::Critical,
        identity,
        "restores and drills from this machine will not open anything",
    );
    let file = certificate_file(&settings.source_uri);
    let check = |before| file.as_deref().map_or(Ok(()), |file| check_certificates(file, now, before));
    let (severity, certificate) = match check(CRITICAL_BEFORE) {
        Ok(()) => (Severity::Warning, check(RENEW_BEFORE)),
        critical => (Severity::Critical, critical),
    };
    let meaning = "when it has ended, nothing is captured and no backup can be taken";
    note(leader, "keys/certificate", severity, certificate, meaning);
}

fn note(leader: &Leader, key: &str, severity: Severity, outcome: Result<()>, meaning: &str) {
    let Err(error) = outcome else { return leader.board.clear(key) };
    leader.board.trouble(Alert {
        key: key.into(),
        severity,
        what: error.to_string(),
        since: leader.clock.now(),
        meaning: meaning.into(),
        remedy: error.hint().unwrap_or("bring the file back").into(),
    });
}

/// Makes sure that no certificate of a file ends within a time.
fn check_certificates(file: &Path, now: Timestamp, within: SignedDuration) -> Result<()> {
    let content = std::fs::read(file).map_err(|error| {
        Error::configuration(format!("cannot read {}, which source.uri names", file.display()))
            .caused_by(error)
            .with_hint("bring it back, and check who may read it")
    })?;
    for end in Pem::iter_from_buffer(&content).filter_map(|pem| end_of(&pem.ok()?)) {
        if now.duration_since(end) > -within {
            return Err(Error::configuration(format!("a certificate in {} ends {}", file.display(), Moment(end)))
                .with_hint("put a new one in its place; the service reads it when it next connects"));
        }
    }
    Ok(())
}

/// Returns when a certificate ends; none for what is no certificate, as a key beside it.
fn end_of(pem: &Pem) -> Option<Timestamp> {
    let certificate = (pem.label == "CERTIFICATE").then(|| pem.parse_x509().ok())??;
    Timestamp::from_second(certificate.validity().not_after.timestamp()).ok()
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_certificate_that_ends_soon_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let [key, file] = ["key.pem", "both.pem"].map(|name| folder.path().join(name));
        let made = Command::new("openssl")
            .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30", "-subj", "/CN=test", "-keyout"])
            .args([&key, Path::new("-out"), &file])
            .output()
            .unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let both = [std::fs::read(&key).unwrap(), std::fs::read(&file).unwrap()].concat();
        std::fs::write(&file, both).unwrap();
        let now = crate::clock::Clock::system().now();
        let after = |days: i64| check_certificates(&file, now + SignedDuration::from_hours(24 * days), RENEW_BEFORE);
        assert!(after(1).is_ok() && after(15).is_ok());
        let error = after(17).unwrap_err();
        assert!(error.to_string().contains("both.pem ends 2"), "{error}");
        assert!(after(31).is_err());
        let error = check_certificates(&folder.path().join("missing.pem"), now, RENEW_BEFORE).unwrap_err();
        assert!(error.to_string().contains("missing.pem, which source.uri names"), "{error}");
    }
}
