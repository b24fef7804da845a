//! Structured logs: text for people, JSON for machines.

use tracing::{Level, Metadata};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::FmtSpan;

/// Output format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// One readable line per event.
    Text,
    /// One JSON object per line.
    Json,
}

/// Libraries that print bodies, headers or settings at lower levels. They are held down whatever level is asked for:
/// kube prints an undecodable body at WARN and an error's body at DEBUG, HTTP stacks print headers with tokens at TRACE.
const HELD_DOWN: [&str; 14] = [
    "kube_client=error",
    "kube_runtime=error",
    "kube=error",
    "hyper=warn",
    "hyper_util=warn",
    "h2=warn",
    "rustls=warn",
    "reqwest=warn",
    "tower=warn",
    "tower_http=warn",
    "aws_config=warn",
    "aws_smithy_runtime=warn",
    "aws_sdk_secretsmanager=warn",
    "gix=warn",
];

/// Where lines go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogTo {
    /// All to standard output.
    Stdout,
    /// All to standard error.
    Stderr,
    /// Warnings and errors to standard error, the rest to standard output, as the Sealed Secrets controller does.
    Split,
}

impl<'a> MakeWriter<'a> for LogTo {
    type Writer = Box<dyn std::io::Write>;

    fn make_writer(&'a self) -> Self::Writer {
        match self {
            Self::Stderr => Box::new(std::io::stderr()),
            Self::Stdout | Self::Split => Box::new(std::io::stdout()),
        }
    }

    fn make_writer_for(&'a self, meta: &Metadata<'_>) -> Self::Writer {
        match self {
            Self::Split if *meta.level() <= Level::WARN => Box::new(std::io::stderr()),
            _ => self.make_writer(),
        }
    }
}

/// Starts logging. A second call does nothing.
pub fn start(level: &str, format: LogFormat, to: LogTo) {
    let mut filter = EnvFilter::try_new(level).unwrap_or_else(|_| EnvFilter::new("info"));
    for directive in HELD_DOWN.iter().filter_map(|text| text.parse().ok()) {
        filter = filter.add_directive(directive);
    }
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_span_events(FmtSpan::NONE).with_target(false);
    let colour = to == LogTo::Stderr && std::io::IsTerminal::is_terminal(&std::io::stderr());
    let builder = builder.with_ansi(colour).with_writer(to);
    let _already_started = match format {
        LogFormat::Text => builder.try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
}
