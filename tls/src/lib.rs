//! TLS of the gRPC port: the flags of both ends, and what is made of the files that they name.
//!
//! Files are PEM and read once, when the process starts: a new certificate takes a restart. The
//! protocol, TLS 1.2 or 1.3, is rustls's business.
//!
//! Absent on purpose: TLS on the data port, whose bytes the laws compare with the kernel's own
//! count; and rights by name: who holds a certificate of the server's client CA may do all that the
//! API offers.

use std::{
    error::Error,
    path::{Path, PathBuf},
    time::Duration,
};

use metronome_os::{
    files,
    key_file::{self, KeyFileError},
};
use tonic::transport::{Certificate, Endpoint, Identity, Server};
pub use tonic::transport::{ClientTlsConfig, ServerTlsConfig};

/// For a handshake, which is a matter of two round trips.
const HANDSHAKE_TIME_MAX: Duration = Duration::from_secs(5);

/// A bundle with all that a system trusts has a quarter of it.
const FILE_BYTES_MAX: usize = 1 << 20;

const CERTIFICATE_BEGINS: &str = "-----BEGIN CERTIFICATE-----";

/// The certificates of a process that dials a server.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct DialFlags {
    /// PEM file with the certificates that may have signed the server's; with it the connection is
    /// encrypted [default for https://: what this system trusts].
    #[arg(
        long,
        env = "METRONOME_TLS_CA",
        value_name = "FILE",
        help_heading = "TLS"
    )]
    pub tls_ca: Option<PathBuf>,

    /// PEM file with the certificate of this end, for a server that asks for one (--tls-client-ca).
    #[arg(
        long,
        env = "METRONOME_TLS_CERT",
        value_name = "FILE",
        help_heading = "TLS"
    )]
    pub tls_cert: Option<PathBuf>,

    /// PEM file with its private key.
    #[arg(
        long,
        env = "METRONOME_TLS_KEY",
        value_name = "FILE",
        help_heading = "TLS"
    )]
    pub tls_key: Option<PathBuf>,

    /// Name that the server's certificate is for, when that is not the host in the address.
    #[arg(
        long,
        env = "METRONOME_TLS_NAME",
        value_name = "NAME",
        help_heading = "TLS"
    )]
    pub tls_name: Option<String>,
}

/// The certificates of a server, and of the clients that it accepts.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct ServeFlags {
    /// PEM file with the server's certificate and those between it and its CA: the gRPC port is
    /// encrypted.
    #[arg(
        long,
        env = "METRONOME_TLS_CERT",
        value_name = "FILE",
        help_heading = "TLS"
    )]
    pub tls_cert: Option<PathBuf>,

    /// PEM file with its private key.
    #[arg(
        long,
        env = "METRONOME_TLS_KEY",
        value_name = "FILE",
        help_heading = "TLS"
    )]
    pub tls_key: Option<PathBuf>,

    /// PEM file with certificates: only agents and operators whose own certificate one of them has
    /// signed are let in.
    #[arg(
        long,
        env = "METRONOME_TLS_CLIENT_CA",
        value_name = "FILE",
        help_heading = "TLS"
    )]
    pub tls_client_ca: Option<PathBuf>,
}

/// Why the flags cannot be used; each is one sentence that names them.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file that is not there, not ours to read or not text.
    #[error("{flag} {}: it cannot be read: {cause}; give a PEM file", path.display())]
    Unreadable {
        /// The flag that names the file.
        flag: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's error.
        cause: std::io::Error,
    },
    /// A private key that is not there, or that others can read.
    #[error("--tls-key {} {problem}", path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: KeyFileError,
    },
    /// A file without what it is for.
    #[error(
        "{flag} {}: no certificate is in it; give a PEM file that has \"{CERTIFICATE_BEGINS}\"",
        path.display()
    )]
    NoCertificate {
        /// The flag that names the file.
        flag: &'static str,
        /// The file.
        path: PathBuf,
    },
    /// A certificate without its key, or the other way round.
    #[error("--tls-cert and --tls-key belong together: give both or neither")]
    Half {
        /// The one that was given.
        flag: &'static str,
    },
    /// A client CA without a certificate of the server's own.
    #[error(
        "--tls-client-ca needs --tls-cert and --tls-key: a server without a certificate of its \
         own has no TLS"
    )]
    NoIdentity,
    /// Two contradictory wishes.
    #[error(
        "--server has http:// and a TLS flag is set; write https://, or leave the flag (or \
         METRONOME_TLS_…) out"
    )]
    Plain,
    /// A certificate and the key of another one.
    #[error("--tls-key is not the key of the certificate in --tls-cert")]
    OtherKey,
    /// What can be no name of a host.
    #[error("--tls-name must be a name of a host or an IP address")]
    Name,
    /// Files that rustls does not take.
    #[error(
        "--tls-cert, --tls-key or a CA cannot be used: {0}; `openssl x509 -in FILE \
         -text -noout` shows what is in one"
    )]
    Unusable(String),
}

impl TlsError {
    /// The flag that the error is about; where several are, one that was given.
    #[must_use]
    pub fn flag(&self) -> &'static str {
        match self {
            Self::Unreadable { flag, .. }
            | Self::NoCertificate { flag, .. }
            | Self::Half { flag } => flag,
            Self::Key { .. } | Self::OtherKey => "--tls-key",
            Self::NoIdentity => "--tls-client-ca",
            Self::Unusable(_) => "--tls-cert",
            Self::Name => "--tls-name",
            Self::Plain => "--server",
        }
    }
}

impl DialFlags {
    /// What to dial with; `None` without TLS. `scheme` is what stands before :// in the address,
    /// when something does.
    ///
    /// # Errors
    /// A file that cannot be used, half an identity, or TLS flags for an address with http://.
    pub fn decide(&self, scheme: Option<&str>) -> Result<Option<ClientTlsConfig>, TlsError> {
        let files = [&self.tls_ca, &self.tls_cert, &self.tls_key];
        let is_asked = files.into_iter().any(Option::is_some) || self.tls_name.is_some();
        match scheme {
            Some("http") if is_asked => return Err(TlsError::Plain),
            Some("https") => {}
            _ if is_asked => {}
            _ => return Ok(None),
        }
        let mut tls = ClientTlsConfig::new().timeout(HANDSHAKE_TIME_MAX);
        tls = match &self.tls_ca {
            Some(path) => {
                tls.ca_certificate(Certificate::from_pem(certificates("--tls-ca", path)?))
            }
            None => tls.with_native_roots(),
        };
        if let Some(identity) = identity(self.tls_cert.as_deref(), self.tls_key.as_deref())? {
            tls = tls.identity(identity);
        }
        if let Some(name) = &self.tls_name {
            tls = tls.domain_name(name);
        }
        // Nothing is dialled: this only has the files parsed, so that a bad one is reported before
        // the first try.
        let trial = Endpoint::from_static("https://localhost").tls_config(tls.clone());
        trial.map_err(|error| unusable(&error))?;
        Ok(Some(tls))
    }
}

impl ServeFlags {
    /// What to serve with; `None` without TLS.
    ///
    /// # Errors
    /// A file that cannot be used, half an identity, or a client CA without an identity.
    pub fn decide(&self) -> Result<Option<ServerTlsConfig>, TlsError> {
        let Some(identity) = identity(self.tls_cert.as_deref(), self.tls_key.as_deref())? else {
            return if self.tls_client_ca.is_some() {
                Err(TlsError::NoIdentity)
            } else {
                Ok(None)
            };
        };
        let mut tls = ServerTlsConfig::new()
            .identity(identity)
            .timeout(HANDSHAKE_TIME_MAX);
        if let Some(path) = &self.tls_client_ca {
            tls = tls.client_ca_root(Certificate::from_pem(certificates(
                "--tls-client-ca",
                path,
            )?));
        }
        Server::builder()
            .tls_config(tls.clone())
            .map_err(|error| unusable(&error))?;
        Ok(Some(tls))
    }
}

fn identity(cert: Option<&Path>, key: Option<&Path>) -> Result<Option<Identity>, TlsError> {
    match (cert, key) {
        (Some(cert), Some(key)) => Ok(Some(Identity::from_pem(
            certificates("--tls-cert", cert)?,
            private_key(key)?,
        ))),
        (None, None) => Ok(None),
        (Some(_), None) => Err(TlsError::Half { flag: "--tls-cert" }),
        (None, Some(_)) => Err(TlsError::Half { flag: "--tls-key" }),
    }
}

/// A file without a certificate would only be noticed at the first handshake, and by the wrong end.
fn certificates(flag: &'static str, path: &Path) -> Result<String, TlsError> {
    let text = read(flag, path)?;
    if text.contains(CERTIFICATE_BEGINS) {
        Ok(text)
    } else {
        Err(TlsError::NoCertificate {
            flag,
            path: path.into(),
        })
    }
}

/// A key that others can read is no secret, whatever is in the file.
fn private_key(path: &Path) -> Result<String, TlsError> {
    let error = |problem| TlsError::Key {
        path: path.into(),
        problem,
    };
    let file = key_file::open(path).map_err(error)?;
    files::text(&file, FILE_BYTES_MAX).map_err(|cause| error(KeyFileError::Unreadable(cause)))
}

fn read(flag: &'static str, path: &Path) -> Result<String, TlsError> {
    let text = files::open(path).and_then(|file| files::text(&file, FILE_BYTES_MAX));
    text.map_err(|cause| TlsError::Unreadable {
        flag,
        path: path.into(),
        cause,
    })
}

fn unusable(error: &tonic::transport::Error) -> TlsError {
    let mut cause: &(dyn Error + 'static) = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    if let Some(rustls::Error::InconsistentKeys(_)) = cause.downcast_ref() {
        return TlsError::OtherKey;
    }
    if cause.is::<rustls::pki_types::InvalidDnsNameError>() {
        return TlsError::Name;
    }
    TlsError::Unusable(cause.to_string())
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt as _};

    use rcgen::{CertifiedKey, generate_simple_self_signed};

    use super::*;

    /// A certificate and its key, in files.
    fn files() -> (tempfile::TempDir, PathBuf, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let CertifiedKey { cert, signing_key } =
            generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let (cert_path, key_path) = (
            folder.path().join("cert.pem"),
            folder.path().join("key.pem"),
        );
        fs::write(&cert_path, cert.pem()).unwrap();
        fs::write(&key_path, signing_key.serialize_pem()).unwrap();
        set_mode(&key_path, 0o600);
        (folder, cert_path, key_path)
    }

    fn set_mode(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn a_private_key_that_others_can_read_is_refused_by_both_ends() {
        let (_folder, cert, key) = files();
        for mode in [0o604, 0o644, 0o666] {
            set_mode(&key, mode);
            let (cert, key) = (Some(cert.clone()), Some(key.clone()));
            let dial = DialFlags {
                tls_cert: cert.clone(),
                tls_key: key.clone(),
                ..DialFlags::default()
            };
            refused(dial.decide(None), "--tls-key");
            refused(dial.decide(None), "chmod 600");
            let serve = ServeFlags {
                tls_cert: cert,
                tls_key: key,
                tls_client_ca: None,
            };
            refused(serve.decide(), "chmod 600");
        }
        set_mode(&key, 0o400);
        let serve = ServeFlags {
            tls_cert: Some(cert),
            tls_key: Some(key),
            tls_client_ca: None,
        };
        assert!(serve.decide().unwrap().is_some());
    }

    #[track_caller]
    fn refused<T>(decided: Result<T, TlsError>, expected: &str) {
        let sentence = decided.err().expect("refused").to_string();
        assert!(
            sentence.contains(expected),
            "{sentence:?} should contain {expected:?}"
        );
    }

    #[test]
    fn tls_is_what_the_scheme_or_a_flag_asks_for() {
        let none = DialFlags::default();
        assert!(
            none.decide(None).unwrap().is_none() && none.decide(Some("http")).unwrap().is_none()
        );
        let (_folder, cert, _) = files();
        let with_ca = DialFlags {
            tls_ca: Some(cert),
            ..DialFlags::default()
        };
        assert!(
            with_ca.decide(None).unwrap().is_some()
                && with_ca.decide(Some("https")).unwrap().is_some()
        );
        refused(with_ca.decide(Some("http")), "https://");
        let with_name = DialFlags {
            tls_name: Some("bench1".into()),
            ..DialFlags::default()
        };
        refused(with_name.decide(Some("http")), "https://");
        assert!(ServeFlags::default().decide().unwrap().is_none());
    }

    #[test]
    fn a_server_with_a_certificate_and_a_ca_for_its_clients_has_tls() {
        let (_folder, cert, key) = files();
        let whole = ServeFlags {
            tls_cert: Some(cert.clone()),
            tls_key: Some(key),
            tls_client_ca: Some(cert),
        };
        assert!(whole.decide().unwrap().is_some());
    }

    #[test]
    fn every_file_that_cannot_be_used_is_refused_by_the_name_of_its_flag() {
        let (folder, cert, key) = files();
        let (absent, empty) = (folder.path().join("absent"), folder.path().join("empty"));
        fs::write(&empty, "").unwrap();
        let dial = |ca: Option<&PathBuf>, cert: Option<&PathBuf>, key: Option<&PathBuf>| {
            DialFlags {
                tls_ca: ca.cloned(),
                tls_cert: cert.cloned(),
                tls_key: key.cloned(),
                tls_name: None,
            }
            .decide(None)
        };
        refused(dial(Some(&absent), None, None), "--tls-ca");
        refused(dial(Some(&empty), None, None), "no certificate");
        refused(dial(Some(&key), None, None), "no certificate");
        refused(dial(Some(&cert), Some(&cert), None), "both or neither");
        set_mode(&cert, 0o600);
        set_mode(&empty, 0o600);
        refused(dial(Some(&cert), Some(&cert), Some(&empty)), "openssl");
        let serve = |cert: Option<&PathBuf>, key: Option<&PathBuf>, ca: Option<&PathBuf>| {
            ServeFlags {
                tls_cert: cert.cloned(),
                tls_key: key.cloned(),
                tls_client_ca: ca.cloned(),
            }
            .decide()
        };
        refused(serve(None, None, Some(&cert)), "--tls-client-ca");
        refused(serve(None, Some(&key), None), "both or neither");
        refused(serve(Some(&cert), Some(&absent), None), "--tls-key");
        refused(serve(Some(&cert), Some(&cert), None), "openssl");
        refused(
            serve(Some(&cert), Some(&key), Some(&empty)),
            "--tls-client-ca",
        );
        let (_other, _, other_key) = files();
        let not_the_key = "--tls-key is not the key";
        refused(serve(Some(&cert), Some(&other_key), None), not_the_key);
        refused(dial(None, Some(&cert), Some(&other_key)), not_the_key);
        let named = DialFlags {
            tls_name: Some("no name".into()),
            ..DialFlags::default()
        };
        refused(named.decide(None), "--tls-name");
    }
}
