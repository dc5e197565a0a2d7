//! A folder with a configuration and an identity, in which the real binary runs.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use age::secrecy::ExposeSecret;
use age::x25519::Identity;
use tempfile::TempDir;

use super::{Invocation, Run, S3, plant};

/// One operator's place: `regrow.toml`, an age identity, and nothing of the machine's own settings.
pub struct Workspace {
    folder: TempDir,
    recipient: String,
    config: toml::Table,
    environment: Vec<(String, String)>,
}

impl Workspace {
    /// Writes a configuration for a server and a repository that needs no more than its URL.
    pub fn new(uri: &str, repository_url: &str) -> Self {
        let folder = tempfile::Builder::new().prefix("regrow-test-").tempdir().expect("a temporary folder can be made");
        let identity_file = folder.path().join("identity.txt");
        let recipient = write_identity(&identity_file);
        let recipients = vec![recipient.clone()];
        let mut workspace = Self { folder, recipient, config: toml::Table::new(), environment: Vec::new() };
        workspace
            .set("source.name", "test")
            .set("source.uri", uri)
            .set("repository.url", repository_url)
            .set("encryption.recipients", recipients)
            .set("encryption.identity_file", path_text(&identity_file));
        workspace
    }

    /// Writes a configuration whose repository is the folder [`repository`](Self::repository) in this one.
    pub fn on_disk(uri: &str) -> Self {
        let mut workspace = Self::new(uri, "");
        let url = format!("file://{}", path_text(&workspace.repository()));
        workspace.set("repository.url", url);
        workspace
    }

    /// Writes a configuration whose repository is a place of its own in an S3 store.
    pub fn on_s3(uri: &str, s3: &S3) -> Self {
        let mut workspace = Self::new(uri, &s3.unique_repository_url());
        workspace.set("repository.endpoint", s3.endpoint.as_str()).set("repository.region", S3::REGION);
        for (name, value) in s3.environment() {
            workspace.set_variable(name, value);
        }
        workspace
    }

    /// Sets one configuration key, written with dots (`oplog.slice_interval`), and rewrites the file.
    pub fn set(&mut self, key: &str, value: impl Into<toml::Value>) -> &mut Self {
        let (tables, name) = key.rsplit_once('.').unwrap_or(("", key));
        let mut table = &mut self.config;
        for part in tables.split('.').filter(|part| !part.is_empty()) {
            let entry = table.entry(part).or_insert_with(|| toml::Table::new().into());
            table = entry.as_table_mut().expect("the key names a table");
        }
        table.insert(name.to_owned(), value.into());
        fs::write(self.config_file(), self.config.to_string()).expect("the folder is writable");
        self
    }

    /// Takes one configuration key out, and rewrites the file.
    pub fn unset(&mut self, key: &str) -> &mut Self {
        let (tables, name) = key.rsplit_once('.').unwrap_or(("", key));
        let mut table = &mut self.config;
        for part in tables.split('.').filter(|part| !part.is_empty()) {
            table = table[part].as_table_mut().expect("the key names a table");
        }
        table.remove(name);
        fs::write(self.config_file(), self.config.to_string()).expect("the folder is writable");
        self
    }

    /// Sets an environment variable for everything that runs here.
    pub fn set_variable(&mut self, name: &str, value: &str) -> &mut Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Writes a file, with the folders above it, and returns its path.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("the file is in the folder")).expect("the folder is writable");
        fs::write(&path, content).expect("the folder is writable");
        path
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn config_file(&self) -> PathBuf {
        self.path("regrow.toml")
    }

    pub fn identity_file(&self) -> PathBuf {
        self.path("identity.txt")
    }

    /// Returns where the repository is that [`on_disk`](Self::on_disk) configures.
    pub fn repository(&self) -> PathBuf {
        self.path("repository")
    }

    pub fn repository_url(&self) -> &str {
        self.config["repository"]["url"].as_str().expect("the URL is text")
    }

    /// Returns the age recipient of the identity.
    pub fn recipient(&self) -> &str {
        &self.recipient
    }

    /// Prepares a run of `regrow` in this folder, where it finds `regrow.toml` by itself.
    ///
    /// Its environment is empty but for what it must have: no setting of this machine changes a test.
    pub fn regrow<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Invocation {
        self.prepared(env!("CARGO_BIN_EXE_regrow"), arguments)
    }

    /// Prepares a run of `regrow` on a store to which `plan` happens, and which writes its operations to `log`.
    pub fn with_faults<S: AsRef<OsStr>>(&self, plan: &str, log: &Path, arguments: &[S]) -> Invocation {
        // What an earlier run had written there would be taken for this one's until the program has begun.
        let _ = fs::remove_file(log);
        let first = [OsStr::new(plan), log.as_os_str()];
        let arguments = first.into_iter().chain(arguments.iter().map(AsRef::as_ref));
        self.prepared(env!("CARGO_BIN_EXE_regrow-with-faults"), arguments)
    }

    fn prepared<S: AsRef<OsStr>>(&self, program: &str, arguments: impl IntoIterator<Item = S>) -> Invocation {
        let mut invocation = Invocation::new(program, self.folder.path());
        invocation.command.args(arguments).env("HOME", self.folder.path()).env("AWS_EC2_METADATA_DISABLED", "true");
        // What is said must not depend on how fast this machine is.
        invocation.command.env("REGROW_PROGRESS", "none");
        invocation.command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        invocation
    }

    /// Prepares a run of one of the `scripts` in this folder, with the same environment and this build's `regrow`.
    pub fn script<S: AsRef<OsStr>>(&self, name: &str, arguments: impl IntoIterator<Item = S>) -> Invocation {
        let script = format!(concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/{}"), name);
        self.prepared(&script, arguments).env("REGROW", env!("CARGO_BIN_EXE_regrow"))
    }

    /// Prepares bash to run a script in this folder, with the same environment and this build's `regrow` on PATH.
    pub fn bash(&self, script: &str) -> Invocation {
        let regrow = Path::new(env!("CARGO_BIN_EXE_regrow")).parent().expect("the binary is in a folder");
        let path = format!("{}:{}", path_text(regrow), std::env::var("PATH").unwrap_or_default());
        self.prepared("bash", ["-c", script]).env("PATH", path)
    }

    /// Runs `regrow` to its end.
    pub fn run<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Run {
        self.regrow(arguments).run()
    }
}

/// Writes a new identity in the format of age-keygen and returns its recipient.
fn write_identity(path: &Path) -> String {
    let identity = Identity::generate();
    let recipient = identity.to_public().to_string();
    let secret = identity.to_string();
    plant("an identity", secret.expose_secret());
    let text = format!("# public key: {recipient}\n{}\n", secret.expose_secret());
    fs::write(path, text).expect("the folder is writable");
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).expect("the file is ours");
    recipient
}

fn path_text(path: &Path) -> String {
    path.to_str().expect("temporary folders have plain names").to_owned()
}
