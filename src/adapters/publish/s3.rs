//! Amazon S3: one signed `PUT` per file.
//!
//! The settings and the signature are the SDK's, the one call is ours. Addresses are formed as the SDK forms them: the
//! bucket stands in the host's name unless the name cannot, or the address is a number.

use std::net::IpAddr;
use std::time::SystemTime;

use aws_config::SdkConfig;
use aws_credential_types::provider::ProvideCredentials as _;
use aws_sigv4::http_request::{
    PayloadChecksumKind, PercentEncodingMode, SignableBody, SignableRequest, SigningSettings, UriPathNormalizationMode,
    sign,
};
use aws_sigv4::sign::v4;
use http::{HeaderName, HeaderValue, header};
use reqwest::{Client, Method, Request, Url};

use super::PublishError;
use crate::adapters::exchange::Answer;

/// The SDK's variable for the address of this service alone.
const ENDPOINT_VARIABLE: &str = "AWS_ENDPOINT_URL_S3";

/// Buckets that one set of credentials reaches.
pub struct S3 {
    config: SdkConfig,
    http: Client,
}

impl S3 {
    /// Makes a client; nothing is contacted.
    ///
    /// # Errors
    /// No HTTP client can be made.
    pub fn new(config: SdkConfig) -> Result<Self, PublishError> {
        Ok(Self { config, http: super::client()? })
    }

    /// Writes an object. `key` must not climb.
    ///
    /// # Errors
    /// See [`PublishError`].
    pub async fn put(&self, bucket: &str, key: &str, bytes: &[u8]) -> Result<(), PublishError> {
        let region = self
            .config
            .region()
            .map(|region| region.as_ref().to_owned())
            .filter(|region| !region.is_empty())
            .ok_or_else(|| settings("no region: set AWS_REGION, or `region` in the profile"))?;
        let own = std::env::var(ENDPOINT_VARIABLE).ok().filter(|address| !address.is_empty());
        let endpoint = own.as_deref().or(self.config.endpoint_url());
        let suffixes = (self.config.use_fips().unwrap_or(false), self.config.use_dual_stack().unwrap_or(false));
        let url = address(endpoint, &region, suffixes, bucket, key)?;
        let mut request = Request::new(Method::PUT, url);
        request.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
        self.sign(&mut request, &region, bytes).await?;
        *request.body_mut() = Some(bytes.to_vec().into());
        let answer = super::call(&self.http, request).await?;
        if answer.status.is_success() { Ok(()) } else { Err(refusal(&answer)) }
    }

    async fn sign(&self, request: &mut Request, region: &str, bytes: &[u8]) -> Result<(), PublishError> {
        let none = |detail: &str| PublishError::Credentials { detail: detail.into() };
        let missing = "none found in the environment, in profile files, or from this machine; set AWS_PROFILE or \
                       AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or log in";
        let provider = self.config.credentials_provider().ok_or_else(|| none(missing))?;
        let identity = provider.provide_credentials().await.map_err(|_| none(missing))?.into();
        let mut how = SigningSettings::default();
        // S3 signs the path as it is sent.
        how.percent_encoding_mode = PercentEncodingMode::Single;
        how.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
        how.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
        let unsigned = |_| settings("the request cannot be signed");
        let parameters = v4::SigningParams::builder()
            .identity(&identity)
            .region(region)
            .name("s3")
            .time(SystemTime::now())
            .settings(how)
            .build()
            .map_err(|_| settings("the request cannot be signed"))?
            .into();
        let signable = SignableRequest::new(
            request.method().as_str(),
            request.url().as_str(),
            request.headers().iter().filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?))),
            SignableBody::Bytes(bytes),
        );
        let signed = sign(signable.map_err(unsigned)?, &parameters).map_err(unsigned)?;
        for header in signed.into_parts().0.into_parts().0 {
            let name = HeaderName::try_from(header.name()).map_err(|_| settings("the request cannot be signed"))?;
            let mut value =
                HeaderValue::from_str(header.value()).map_err(|_| settings("the request cannot be signed"))?;
            value.set_sensitive(header.sensitive() || name == header::AUTHORIZATION);
            request.headers_mut().insert(name, value);
        }
        Ok(())
    }
}

fn settings(detail: &str) -> PublishError {
    PublishError::Settings { detail: detail.into() }
}

/// The address of an object. Bucket and region become part of a host's name, so they hold letters, digits, `-`, `.` and
/// `_` and no more.
fn address(
    endpoint: Option<&str>,
    region: &str,
    (fips, dual_stack): (bool, bool),
    bucket: &str,
    key: &str,
) -> Result<Url, PublishError> {
    let of = |more: &[u8], text: &str| {
        !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || more.contains(&b))
    };
    if !of(b"", region) {
        return Err(settings("the region is not the name of one"));
    }
    if !of(b"._", bucket) || bucket.split('.').any(str::is_empty) {
        return Err(settings("s3_bucket is not the name of a bucket; ARNs of access points are not supported"));
    }
    let base = match endpoint {
        Some(endpoint) => Url::parse(endpoint).ok().filter(|url| matches!(url.scheme(), "http" | "https")),
        None => {
            let service = if fips { "s3-fips" } else { "s3" };
            let stack = if dual_stack { "dualstack." } else { "" };
            Url::parse(&format!("https://{service}.{stack}{region}.{}", domain(region)?)).ok()
        }
    };
    let mut url = base.ok_or_else(|| settings("the endpoint of S3 is not an address"))?;
    let host = url.host_str().unwrap_or_default().to_owned();
    let number = host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok();
    let lower = bucket.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-.".contains(&b));
    // A wildcard certificate covers one label.
    let as_host = lower && !number && (url.scheme() == "http" || !bucket.contains('.'));
    let folder = url.path().trim_end_matches('/').to_owned();
    if as_host {
        url.set_host(Some(&format!("{bucket}.{host}"))).map_err(|_| settings("the bucket cannot be in an address"))?;
        url.set_path(&format!("{folder}/{}", encoded(key)));
    } else {
        url.set_path(&format!("{folder}/{bucket}/{}", encoded(key)));
    }
    Ok(url)
}

/// The domain of a region's partition.
fn domain(region: &str) -> Result<&'static str, PublishError> {
    match region {
        _ if region.starts_with("cn-") => Ok("amazonaws.com.cn"),
        _ if region.starts_with("eusc-") => Ok("amazonaws.eu"),
        _ if region.contains("-iso") => Err(settings("name the address of S3 for this region: AWS_ENDPOINT_URL_S3")),
        _ => Ok("amazonaws.com"),
    }
}

/// Everything but what needs no encoding, and `/`: the form that is signed.
fn encoded(key: &str) -> String {
    let mut out = String::with_capacity(key.len());
    for byte in key.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' | b'/' => out.push(char::from(byte)),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

fn refusal(answer: &Answer) -> PublishError {
    let region = answer.headers.get("x-amz-bucket-region").and_then(|region| region.to_str().ok());
    if let (300..=399, Some(region)) = (answer.status.as_u16(), region) {
        return PublishError::Redirected { to: format!("region {region}") };
    }
    let body = answer.body.expose_str().unwrap_or_default();
    let code = body.split_once("<Code>").and_then(|(_, rest)| rest.split_once("</Code>")).map(|(code, _)| code);
    super::refusal(answer, code)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(endpoint: Option<&str>, region: &str, bucket: &str, key: &str) -> Result<String, PublishError> {
        address(endpoint, region, (false, false), bucket, key).map(String::from)
    }

    #[test]
    fn addresses_are_formed_as_the_sdk_forms_them() {
        for (endpoint, region, bucket, expected) in [
            (None, "eu-central-1", "b-1", "https://b-1.s3.eu-central-1.amazonaws.com/p/a%20b%2B%C3%A9%25.yaml"),
            (None, "cn-north-1", "b", "https://b.s3.cn-north-1.amazonaws.com.cn/p/a%20b%2B%C3%A9%25.yaml"),
            (None, "us-east-1", "a.b", "https://s3.us-east-1.amazonaws.com/a.b/p/a%20b%2B%C3%A9%25.yaml"),
            (None, "us-east-1", "Old_B", "https://s3.us-east-1.amazonaws.com/Old_B/p/a%20b%2B%C3%A9%25.yaml"),
            (Some("http://127.0.0.1:5000"), "x", "b", "http://127.0.0.1:5000/b/p/a%20b%2B%C3%A9%25.yaml"),
            (Some("http://[::1]:5000/"), "x", "b", "http://[::1]:5000/b/p/a%20b%2B%C3%A9%25.yaml"),
            (Some("http://minio.test/s3/"), "x", "b", "http://b.minio.test/s3/p/a%20b%2B%C3%A9%25.yaml"),
        ] {
            assert_eq!(of(endpoint, region, bucket, "p/a b+é%.yaml").as_deref(), Ok(expected));
        }
        let both = address(None, "us-west-2", (true, true), "b", "k").map(String::from);
        assert_eq!(both.as_deref(), Ok("https://b.s3-fips.dualstack.us-west-2.amazonaws.com/k"));
    }

    #[test]
    fn names_do_not_choose_another_host() {
        for (endpoint, region, bucket) in [
            (None, "eu.evil.test/", "b"),
            (None, "", "b"),
            (None, "us-iso-east-1", "b"),
            (None, "us-east-1", "evil.test/"),
            (None, "us-east-1", "u@evil"),
            (None, "us-east-1", ".."),
            (None, "us-east-1", "arn:aws:s3:us-east-1:1:accesspoint/a"),
            (Some("file:///etc"), "us-east-1", "b"),
        ] {
            assert!(of(endpoint, region, bucket, "k").is_err(), "{endpoint:?} {region} {bucket}");
        }
    }
}
