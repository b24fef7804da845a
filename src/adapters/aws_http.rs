//! The HTTP client that the AWS SDK is given: our TLS, the proxies of the environment, and a cap on what a service may
//! send, which the SDK lacks.

use std::time::Duration;

use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::tls::{self, rustls_provider::CryptoMode};
use aws_smithy_http_client::{Builder, Connector};
use aws_smithy_runtime_api::client::connector_metadata::ConnectorMetadata;
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::timeout::TimeoutConfig;
use http_body_util::{LengthLimitError, Limited};

use super::exchange::CONNECT_TIMEOUT;

/// A client that reads at most `body` bytes of an answer.
pub fn client(body: usize) -> SharedHttpClient {
    let inner = Builder::new().build_with_connector_fn(|settings, _| {
        let mut connector = Connector::builder().proxy_config(ProxyConfig::from_env());
        if let Some(settings) = settings {
            connector = connector.connector_settings(settings.clone());
        }
        connector.tls_provider(tls::Provider::Rustls(CryptoMode::AwsLc)).build()
    });
    SharedHttpClient::new(Capped { inner, body })
}

/// The SDK's timeouts for one call of at most `limit`, repeats included.
pub fn timeouts(limit: Duration) -> TimeoutConfig {
    TimeoutConfig::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .operation_timeout(limit)
        // Time for a second try after one that hangs.
        .operation_attempt_timeout(limit * 2 / 3)
        .build()
}

/// Whether a call failed since the answer was larger than the client reads.
pub fn is_too_large(error: &(dyn std::error::Error + 'static)) -> bool {
    std::iter::successors(Some(error), |error| error.source()).any(|error| error.is::<LengthLimitError>())
}

#[derive(Debug)]
struct Capped<T> {
    inner: T,
    body: usize,
}

impl HttpClient for Capped<SharedHttpClient> {
    fn http_connector(&self, settings: &HttpConnectorSettings, components: &RuntimeComponents) -> SharedHttpConnector {
        let inner = self.inner.http_connector(settings, components);
        SharedHttpConnector::new(Capped { inner, body: self.body })
    }

    fn connector_metadata(&self) -> Option<ConnectorMetadata> {
        self.inner.connector_metadata()
    }
}

impl HttpConnector for Capped<SharedHttpConnector> {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let (answer, largest) = (self.inner.call(request), self.body);
        HttpConnectorFuture::new(async move {
            let cap = |body| SdkBody::from_body_1_x(Limited::new(body, largest));
            Ok(answer.await?.map(cap))
        })
    }
}
