//! One error kind decides gRPC code, HTTP status and what becomes of a message.

use std::{fmt, time::Duration};

use tonic_types::{ErrorDetails, StatusExt as _};

/// What went wrong, as far as a caller can act on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The caller's input is wrong; the same call will fail again.
    Invalid,
    /// There is no such thing.
    NotFound,
    /// Somebody else was faster; read again and decide again.
    Conflict,
    /// It is there already.
    AlreadyExists,
    /// The thing is not in a state that allows this.
    Precondition,
    /// No credential, or a bad one.
    Unauthenticated,
    /// The credential does not allow this.
    Denied,
    /// Too much; try later.
    Exhausted,
    /// A dependency is away; the same call will succeed when it is back.
    Unavailable,
    /// Our fault.
    Internal,
}

impl Kind {
    /// The gRPC code.
    pub const fn grpc(self) -> tonic::Code {
        match self {
            Kind::Invalid => tonic::Code::InvalidArgument,
            Kind::NotFound => tonic::Code::NotFound,
            Kind::Conflict => tonic::Code::Aborted,
            Kind::AlreadyExists => tonic::Code::AlreadyExists,
            Kind::Precondition => tonic::Code::FailedPrecondition,
            Kind::Unauthenticated => tonic::Code::Unauthenticated,
            Kind::Denied => tonic::Code::PermissionDenied,
            Kind::Exhausted => tonic::Code::ResourceExhausted,
            Kind::Unavailable => tonic::Code::Unavailable,
            Kind::Internal => tonic::Code::Internal,
        }
    }

    /// The HTTP status.
    pub const fn http(self) -> http::StatusCode {
        match self {
            Kind::Invalid => http::StatusCode::BAD_REQUEST,
            Kind::NotFound => http::StatusCode::NOT_FOUND,
            Kind::Conflict | Kind::AlreadyExists => http::StatusCode::CONFLICT,
            Kind::Precondition => http::StatusCode::PRECONDITION_FAILED,
            Kind::Unauthenticated => http::StatusCode::UNAUTHORIZED,
            Kind::Denied => http::StatusCode::FORBIDDEN,
            Kind::Exhausted => http::StatusCode::TOO_MANY_REQUESTS,
            Kind::Unavailable => http::StatusCode::SERVICE_UNAVAILABLE,
            Kind::Internal => http::StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// What becomes of a message whose handling failed like this.
    pub const fn verdict(self) -> Verdict {
        match self {
            Kind::Invalid | Kind::Denied | Kind::Unauthenticated => Verdict::DeadLetter,
            Kind::Unavailable | Kind::Exhausted => Verdict::WaitAndRetry,
            Kind::NotFound | Kind::Conflict | Kind::AlreadyExists | Kind::Precondition | Kind::Internal => {
                Verdict::Redeliver
            }
        }
    }
}

/// What becomes of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It will never work: aside with it.
    DeadLetter,
    /// Try again some times, then aside with it.
    Redeliver,
    /// Not its fault: hold it until the dependency is back.
    WaitAndRetry,
}

/// One field of the input that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Path of the field, such as `handle.value`.
    pub field: String,
    /// What is wrong and what would be right.
    pub description: String,
}

/// An error with an outside and an inside: callers see `message`, the log sees `source`.
#[derive(Debug)]
pub struct Error {
    kind: Kind,
    message: String,
    violations: Vec<Violation>,
    retry_after: Option<Duration>,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    /// With a message that callers may read.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            violations: Vec::new(),
            retry_after: None,
            source: None,
        }
    }

    /// One field of the input is wrong.
    pub fn invalid(field: impl Into<String>, description: impl Into<String>) -> Self {
        let violation = Violation {
            field: field.into(),
            description: description.into(),
        };
        Self {
            kind: Kind::Invalid,
            message: format!("{}: {}", violation.field, violation.description),
            violations: vec![violation],
            retry_after: None,
            source: None,
        }
    }

    /// There is no such thing.
    pub fn not_found(what: &str, id: impl fmt::Display) -> Self {
        Self::new(Kind::NotFound, format!("{what} {id} does not exist"))
    }

    /// A broken promise of our own; the words are for the log only.
    pub fn internal(inside: impl fmt::Display) -> Self {
        Self::new(Kind::Internal, "internal error").because(std::io::Error::other(inside.to_string()))
    }

    /// A dependency is away.
    pub fn unavailable(dependency: &str, source: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self::new(Kind::Unavailable, format!("{dependency} is not available")).because(source)
    }

    /// Adds the inside.
    #[must_use]
    pub fn because(mut self, source: impl std::error::Error + Send + Sync + 'static) -> Self {
        self.source = Some(Box::new(source));
        self
    }

    /// Adds when it is worth to try again: `RetryInfo` in gRPC, `Retry-After` in HTTP.
    #[must_use]
    pub fn retry_after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }

    /// How long to wait before trying again, if that is known.
    pub const fn wait(&self) -> Option<Duration> {
        self.retry_after
    }

    /// What decides code, status and ack.
    pub const fn kind(&self) -> Kind {
        self.kind
    }

    /// The fields that are wrong.
    pub fn violations(&self) -> &[Violation] {
        &self.violations
    }

    /// Outside and inside, for the log.
    pub fn detail(&self) -> String {
        let mut text = self.message.clone();
        let mut next = std::error::Error::source(self);
        while let Some(source) = next {
            text.push_str(": ");
            text.push_str(&source.to_string());
            next = source.source();
        }
        text
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_deref().map(|s| s as _)
    }
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        let kind = match &error {
            sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed => Kind::Unavailable,
            sqlx::Error::Database(db) => match db.code().as_deref() {
                // Connection lost, shutting down, starting up, out of connections or of space.
                Some(code) if code.starts_with("08") || code.starts_with("57P") || code.starts_with("53") => {
                    Kind::Unavailable
                }
                // Serialisation failure, deadlock, unique violation.
                Some("40001" | "40P01" | "23505") => Kind::Conflict,
                _ => Kind::Internal,
            },
            _ => Kind::Internal,
        };
        let message = match kind {
            Kind::Unavailable => "the database is not available",
            Kind::Conflict => "somebody else was faster; read again and decide again",
            _ => "internal error",
        };
        Self::new(kind, message).because(error)
    }
}

impl From<prost::DecodeError> for Error {
    fn from(error: prost::DecodeError) -> Self {
        Self::new(Kind::Invalid, "the message cannot be decoded").because(error)
    }
}

impl From<trama_proto::ids::InvalidId> for Error {
    fn from(error: trama_proto::ids::InvalidId) -> Self {
        Self::new(Kind::Invalid, error.to_string())
    }
}

impl From<crate::config::ConfigError> for Error {
    fn from(error: crate::config::ConfigError) -> Self {
        Self::new(Kind::Precondition, error.to_string())
    }
}

impl From<tonic::Status> for Error {
    fn from(status: tonic::Status) -> Self {
        let kind = match status.code() {
            tonic::Code::InvalidArgument | tonic::Code::OutOfRange => Kind::Invalid,
            tonic::Code::NotFound => Kind::NotFound,
            tonic::Code::Aborted => Kind::Conflict,
            tonic::Code::AlreadyExists => Kind::AlreadyExists,
            tonic::Code::FailedPrecondition => Kind::Precondition,
            tonic::Code::Unauthenticated => Kind::Unauthenticated,
            tonic::Code::PermissionDenied => Kind::Denied,
            tonic::Code::ResourceExhausted => Kind::Exhausted,
            tonic::Code::Unavailable | tonic::Code::DeadlineExceeded | tonic::Code::Cancelled => {
                Kind::Unavailable
            }
            _ => Kind::Internal,
        };
        Self::new(kind, status.message())
    }
}

impl From<Error> for tonic::Status {
    fn from(error: Error) -> Self {
        if matches!(error.kind, Kind::Internal | Kind::Unavailable) {
            tracing::error!(kind = ?error.kind, detail = error.detail(), "request failed");
        }
        if error.violations.is_empty() && error.retry_after.is_none() {
            return tonic::Status::new(error.kind.grpc(), error.message);
        }
        let mut details = ErrorDetails::new();
        for violation in error.violations {
            details.add_bad_request_violation(violation.field, violation.description);
        }
        if error.retry_after.is_some() {
            details.set_retry_info(error.retry_after);
        }
        tonic::Status::with_error_details(error.kind.grpc(), error.message, details)
    }
}

/// RFC 9457 problem details.
impl axum::response::IntoResponse for Error {
    fn into_response(self) -> axum::response::Response {
        if matches!(self.kind, Kind::Internal | Kind::Unavailable) {
            tracing::error!(kind = ?self.kind, detail = self.detail(), "request failed");
        }
        let status = self.kind.http();
        let mut body = serde_json::json!({
            "type": "about:blank",
            "title": status.canonical_reason().unwrap_or("error"),
            "status": status.as_u16(),
            "detail": self.message,
        });
        if !self.violations.is_empty() {
            let list = self
                .violations
                .iter()
                .map(|v| serde_json::json!({"field": v.field, "description": v.description}));
            body["violations"] = list.collect();
        }
        let mut response = (
            status,
            [(http::header::CONTENT_TYPE, "application/problem+json")],
            body.to_string(),
        )
            .into_response();
        if let Some(wait) = self.retry_after {
            // Whole seconds, and never too soon.
            let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
            response
                .headers_mut()
                .insert(http::header::RETRY_AFTER, seconds.max(1).into());
        }
        response
    }
}
