//! Why a TLS connection does not come about, told by what the TLS library (rustls) says.
//!
//! Its errors reach us only as text, through two drivers that wrap them in types of their own.

/// Why a handshake ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// Nobody who is trusted has issued the server's certificate.
    UnknownIssuer,
    /// The server's certificate has ended.
    Expired,
    /// The server's certificate has not begun.
    NotYetValid,
    /// The server's certificate is for other names.
    OtherName,
    /// The server does not accept our certificate, or asks for one that we do not show.
    Ours,
    /// What answers does not speak TLS.
    NoTls,
}

impl Refusal {
    /// Finds a refusal in an error's text; none where the error is about something else.
    #[must_use]
    pub fn find(text: &str) -> Option<Self> {
        const KNOWN: [(&str, Refusal); 10] = [
            ("UnknownIssuer", Refusal::UnknownIssuer),
            // An authority of the same name, with another key.
            ("BadSignature", Refusal::UnknownIssuer),
            ("certificate expired", Refusal::Expired),
            ("certificate not valid yet", Refusal::NotYetValid),
            ("not valid for name", Refusal::OtherName),
            ("NotValidForName", Refusal::OtherName),
            ("received fatal alert: CertificateRequired", Refusal::Ours),
            ("received fatal alert: UnknownCA", Refusal::Ours),
            ("received fatal alert: BadCertificate", Refusal::Ours),
            ("InvalidContentType", Refusal::NoTls),
        ];
        KNOWN.into_iter().find(|(said, _)| text.contains(said)).map(|(_, refusal)| refusal)
    }

    /// Returns the cause, for a sentence whose subject is the server.
    #[must_use]
    pub fn cause(self) -> &'static str {
        match self {
            Self::UnknownIssuer => "nobody who is trusted here has issued the server's certificate",
            Self::Expired => "the server's certificate has expired",
            Self::NotYetValid => "the server's certificate is not valid yet",
            Self::OtherName => "the server's certificate is for another name",
            Self::Ours => "the server does not accept the certificate that it was shown, or was shown none",
            Self::NoTls => "the server does not speak TLS",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_refusal_is_none() {
        assert_eq!(Refusal::find("invalid peer certificate: UnknownIssuer"), Some(Refusal::UnknownIssuer));
        assert_eq!(Refusal::find("Connection refused (os error 111)"), None);
    }
}
