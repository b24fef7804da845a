//! Structured logs: text for people, JSON for machines.

use tracing_subscriber::EnvFilter;
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
const HELD_DOWN: [&str; 16] = [
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
    "vaultrs=off",
    "rustify=off",
    "aws_config=warn",
    "aws_smithy_runtime=warn",
    "aws_sdk_secretsmanager=warn",
    "gix=warn",
];

/// Starts logging to standard output (or standard error, for the command line). A second call does nothing.
pub fn start(level: &str, format: LogFormat, to_stderr: bool) {
    let mut filter = EnvFilter::try_new(level).unwrap_or_else(|_| EnvFilter::new("info"));
    for directive in HELD_DOWN.iter().filter_map(|text| text.parse().ok()) {
        filter = filter.add_directive(directive);
    }
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_span_events(FmtSpan::NONE).with_target(false);
    let colour = std::io::IsTerminal::is_terminal(&std::io::stderr()) && to_stderr;
    let _already_started = match (format, to_stderr) {
        (LogFormat::Text, false) => builder.with_ansi(false).try_init(),
        (LogFormat::Text, true) => builder.with_ansi(colour).with_writer(std::io::stderr).try_init(),
        (LogFormat::Json, false) => builder.json().flatten_event(true).try_init(),
        (LogFormat::Json, true) => builder.json().flatten_event(true).with_writer(std::io::stderr).try_init(),
    };
}
