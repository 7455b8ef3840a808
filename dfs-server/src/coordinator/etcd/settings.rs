//! How to reach etcd: flags, environment and file, and what the connection takes from them. Secrets come from
//! files only, so that they are in no command line, no environment and no log.

use crate::config::Fatal;
use crate::config::units::{parse_duration, parse_size};
use etcd_client::{Certificate, Identity, TlsOptions};
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// etcd's limits on the life of a lease: below, it makes it longer; above, a failover is no failover.
const TTL_MIN: Duration = Duration::from_secs(2);
const TTL_MAX: Duration = Duration::from_secs(60);

/// Settings of the roles that use etcd.
#[derive(Clone, Debug, clap::Args)]
pub struct EtcdArgs {
    /// Endpoints of etcd, separated by commas, all of its members; without it everything is in the data directory
    #[arg(long, value_name = "URL,...", value_delimiter = ',', env = "DFS_ETCD")]
    pub etcd: Vec<String>,
    /// Certificate authority that signs the certificates of etcd's members (PEM)
    #[arg(long, value_name = "FILE", env = "DFS_ETCD_CA")]
    pub etcd_ca: Option<PathBuf>,
    /// Certificate to show to etcd (PEM), with --etcd-key
    #[arg(long, value_name = "FILE", requires = "etcd_key", env = "DFS_ETCD_CERT")]
    pub etcd_cert: Option<PathBuf>,
    /// Private key of --etcd-cert (PEM)
    #[arg(long, value_name = "FILE", requires = "etcd_cert", env = "DFS_ETCD_KEY")]
    pub etcd_key: Option<PathBuf>,
    /// User of etcd, with --etcd-password-file
    #[arg(
        long,
        value_name = "NAME",
        requires = "etcd_password_file",
        env = "DFS_ETCD_USER"
    )]
    pub etcd_user: Option<String>,
    /// File whose first line is the user's password
    #[arg(
        long,
        value_name = "FILE",
        requires = "etcd_user",
        env = "DFS_ETCD_PASSWORD_FILE"
    )]
    pub etcd_password_file: Option<PathBuf>,
    /// How long a silent leader is waited for; at least 2s and 1.5 times etcd's --election-timeout
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = parse_duration, env = "DFS_ETCD_TTL")]
    pub etcd_ttl: Duration,
    /// Write this coordinator's settings (copies, lease term, delays) into etcd for all of them, which otherwise take
    /// over those of the first
    #[arg(long, env = "DFS_SHARE_SETTINGS")]
    pub share_settings: bool,
    /// What etcd's --quota-backend-bytes says
    #[arg(long, value_name = "SIZE", default_value = "2GiB", value_parser = parse_size, env = "DFS_ETCD_QUOTA")]
    pub etcd_quota: u64,
}

/// What the connection, the election and the watch over the space need to know.
#[derive(Clone)]
pub struct EtcdSettings {
    pub endpoints: Vec<String>,
    pub tls: Option<TlsOptions>,
    pub user: Option<(String, String)>,
    pub ttl: Duration,
    pub quota: u64,
}

impl fmt::Debug for EtcdSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let EtcdSettings {
            endpoints,
            ttl,
            quota,
            ..
        } = self;
        write!(f, "EtcdSettings({endpoints:?}, {ttl:?}, {quota})")
    }
}

#[cfg(test)]
impl EtcdSettings {
    /// Plain connections to these endpoints.
    pub fn plain(endpoints: Vec<String>) -> EtcdSettings {
        EtcdSettings {
            endpoints,
            tls: None,
            user: None,
            ttl: TTL_MIN,
            quota: 2 << 30,
        }
    }
}

impl EtcdArgs {
    /// The settings, checked, with the files read; `None` without endpoints.
    pub fn settings(&self) -> Result<Option<EtcdSettings>, Fatal> {
        let endpoints: Vec<String> = self
            .etcd
            .iter()
            .map(|endpoint| endpoint.trim().trim_end_matches('/').to_owned())
            .filter(|endpoint| !endpoint.is_empty())
            .collect();
        if endpoints.is_empty() {
            return Ok(None);
        }
        let secure = self.etcd_ca.is_some() || endpoints.iter().any(|one| one.starts_with("https://"));
        if secure && let Some(plain) = endpoints.iter().find(|one| one.starts_with("http://")) {
            return Err(Fatal(format!(
                "--etcd {plain} is not encrypted, but others or --etcd-ca ask for it; use https:// for all endpoints"
            )));
        }
        if self.etcd_cert.is_some() && !secure {
            return Err(Fatal("--etcd-cert needs https:// endpoints or --etcd-ca".into()));
        }
        let ttl = self.etcd_ttl;
        if !(TTL_MIN..=TTL_MAX).contains(&ttl) || ttl.subsec_nanos() != 0 {
            return Err(Fatal(format!(
                "--etcd-ttl must be whole seconds between {} and {}",
                TTL_MIN.as_secs(),
                TTL_MAX.as_secs()
            )));
        }
        Ok(Some(EtcdSettings {
            endpoints,
            tls: if secure { Some(self.tls()?) } else { None },
            user: self.user()?,
            ttl,
            quota: self.etcd_quota,
        }))
    }

    fn tls(&self) -> Result<TlsOptions, Fatal> {
        let ca = self.etcd_ca.as_deref().ok_or_else(|| {
            Fatal(
                "https:// endpoints of etcd need --etcd-ca, the authority that signs their certificates"
                    .into(),
            )
        })?;
        let mut tls = TlsOptions::new().ca_certificate(Certificate::from_pem(read("--etcd-ca", ca)?));
        if let (Some(cert), Some(key)) = (&self.etcd_cert, &self.etcd_key) {
            let (cert, key) = (read("--etcd-cert", cert)?, read("--etcd-key", key)?);
            tls = tls.identity(Identity::from_pem(cert, key));
        }
        Ok(tls)
    }

    fn user(&self) -> Result<Option<(String, String)>, Fatal> {
        let (Some(user), Some(file)) = (&self.etcd_user, &self.etcd_password_file) else {
            return Ok(None);
        };
        let text = read("--etcd-password-file", file)?;
        let password = text.lines().next().unwrap_or_default();
        if password.is_empty() {
            return Err(Fatal(format!(
                "--etcd-password-file {}: its first line is empty; write the password there",
                file.display()
            )));
        }
        Ok(Some((user.clone(), password.to_owned())))
    }
}

fn read(flag: &str, path: &Path) -> Result<String, Fatal> {
    std::fs::read_to_string(path)
        .map_err(|error| Fatal::io(format!("cannot read {flag} {}", path.display()), error))
}
