//! What AWS means by the code of a refusal. The codes are common to its services (AWS documentation, "Common errors", and
//! those of KMS, STS and Secrets Manager); what only one service says is that service's own affair.

/// A refusal that every service has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The caller is not known, or may not.
    Denied,
    /// Too many calls.
    Throttled,
    /// The service has a fault.
    Unavailable,
    /// Something else: the request itself.
    Other,
}

/// The meaning of a code; where it says nothing, that of the HTTP status.
pub fn refusal(code: &str, status: u16) -> Refusal {
    match code {
        "AccessDeniedException"
        | "AccessDenied"
        | "AuthFailure"
        | "DecryptionFailure"
        | "ExpiredToken"
        | "ExpiredTokenException"
        | "IncompleteSignature"
        | "InvalidClientTokenId"
        | "InvalidSignatureException"
        | "MissingAuthenticationToken"
        | "SignatureDoesNotMatch"
        | "UnrecognizedClientException" => Refusal::Denied,
        "LimitExceededException"
        | "RequestLimitExceeded"
        | "SlowDown"
        | "Throttling"
        | "ThrottlingException"
        | "TooManyRequestsException" => Refusal::Throttled,
        "InternalServiceError" | "InternalServiceErrorException" | "ServiceUnavailable" => Refusal::Unavailable,
        _ => match status {
            401 | 403 => Refusal::Denied,
            429 => Refusal::Throttled,
            500..=599 => Refusal::Unavailable,
            _ => Refusal::Other,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_code_counts_before_the_status() {
        for (code, status, meaning) in [
            ("ExpiredToken", 400, Refusal::Denied),
            ("ThrottlingException", 400, Refusal::Throttled),
            ("InternalServiceError", 400, Refusal::Unavailable),
            ("InvalidCiphertextException", 400, Refusal::Other),
            ("Unknown", 403, Refusal::Denied),
            ("Unknown", 429, Refusal::Throttled),
            ("503", 503, Refusal::Unavailable),
        ] {
            assert_eq!(refusal(code, status), meaning, "{code} {status}");
        }
    }
}
