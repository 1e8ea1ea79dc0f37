//! Why TLS was not agreed upon, as the end of a sentence: the types of rustls in our words.
//!
//! rustls's own texts are debug forms of its types. "It" is the peer in these phrases. Pure.

use std::{error::Error, io, iter};

use rustls::{AlertDescription, CertificateError, Error as TlsError};

/// Why, when one of the causes of `error` is an error of TLS that has words of its own here.
pub(crate) fn tls_cause(error: &(dyn Error + 'static)) -> Option<String> {
    let causes = iter::successors(Some(error), |&error| error.source());
    causes.filter_map(tls_error).find_map(words)
}

/// The error itself, or the one within an error of a socket, which is no source of that.
fn tls_error<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a TlsError> {
    error.downcast_ref::<TlsError>().or_else(|| {
        let error: &io::Error = error.downcast_ref()?;
        error.get_ref()?.downcast_ref()
    })
}

fn words(error: &TlsError) -> Option<String> {
    Some(match error {
        TlsError::InvalidCertificate(problem) => certificate(problem),
        TlsError::InvalidMessage(_) => "what it answers is not TLS".into(),
        TlsError::AlertReceived(alert) => return refused(*alert).map(Into::into),
        TlsError::PeerIncompatible(_) => "it has no version or cipher that this end has".into(),
        TlsError::NoCertificatesPresented => "it has no certificate".into(),
        _ => return None,
    })
}

/// What is wrong with the peer's certificate.
fn certificate(problem: &CertificateError) -> String {
    let words = match problem {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "its certificate has expired"
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "its certificate is not valid yet, by the clock of this host"
        }
        CertificateError::Revoked => "its certificate is revoked",
        // A bad signature is that of a CA with the same name and another key.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            "its certificate is signed by none that this end trusts (--tls-ca)"
        }
        CertificateError::NotValidForNameContext { expected, .. } => {
            let expected = expected.to_str();
            return format!("its certificate is not for the name {expected} (--tls-name)");
        }
        CertificateError::NotValidForName => {
            "its certificate is not for the name that was dialled (--tls-name)"
        }
        _ => return format!("its certificate cannot be used: {problem}"),
    };
    words.into()
}

/// Why the peer has ended the handshake.
fn refused(alert: AlertDescription) -> Option<&'static str> {
    Some(match alert {
        AlertDescription::CertificateRequired | AlertDescription::NoCertificate => {
            "it asks for a certificate of this end (--tls-cert)"
        }
        AlertDescription::UnknownCA | AlertDescription::DecryptError => {
            "it does not trust the one that has signed this end's certificate (--tls-cert)"
        }
        AlertDescription::CertificateExpired => "the certificate of this end has expired",
        AlertDescription::CertificateRevoked => "the certificate of this end is revoked",
        AlertDescription::BadCertificate
        | AlertDescription::UnsupportedCertificate
        | AlertDescription::CertificateUnknown
        | AlertDescription::AccessDenied => "it refuses the certificate of this end (--tls-cert)",
        AlertDescription::ProtocolVersion
        | AlertDescription::HandshakeFailure
        | AlertDescription::InsufficientSecurity => {
            "it refuses the handshake: no version or cipher in common, or no certificate of ours"
        }
        AlertDescription::UnrecognisedName => "it has no certificate for the name (--tls-name)",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The error within that of a socket, which is how the library of gRPC wraps it.
    fn wrapped(error: TlsError) -> io::Error {
        io::Error::new(io::ErrorKind::InvalidData, error)
    }

    #[test]
    fn every_cause_that_users_meet_has_plain_words() {
        let invalid = |problem| TlsError::InvalidCertificate(problem);
        for (error, part) in [
            (invalid(CertificateError::Expired), "has expired"),
            (invalid(CertificateError::NotValidYet), "not valid yet"),
            (invalid(CertificateError::UnknownIssuer), "--tls-ca"),
            (invalid(CertificateError::NotValidForName), "--tls-name"),
            (invalid(CertificateError::BadSignature), "--tls-ca"),
            (invalid(CertificateError::BadEncoding), "cannot be used"),
            (
                TlsError::InvalidMessage(rustls::InvalidMessage::InvalidContentType),
                "not TLS",
            ),
            (
                TlsError::AlertReceived(AlertDescription::CertificateRequired),
                "asks for a certificate",
            ),
            (
                TlsError::AlertReceived(AlertDescription::UnknownCA),
                "does not trust",
            ),
        ] {
            let debug = format!("{error:?}");
            let words = tls_cause(&wrapped(error.clone())).unwrap();
            assert!(words.contains(part), "{debug}: {words}");
            assert_eq!(tls_cause(&error), Some(words), "{debug}");
        }
        assert_eq!(tls_cause(&io::Error::other("a text")), None);
        assert_eq!(tls_cause(&wrapped(TlsError::FailedToGetRandomBytes)), None);
    }
}
