package main

import (
	"crypto"
	"crypto/dsa"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/asn1"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"strings"

	"software.sslmate.com/src/go-pkcs12"
)

func firstCert(text string) (*x509.Certificate, error) {
	block, _ := pem.Decode([]byte(text))
	if block == nil || block.Type != "CERTIFICATE" {
		return nil, errors.New("no certificate")
	}
	return x509.ParseCertificate(block.Bytes)
}

func keyKind(key any) string {
	switch key := key.(type) {
	case *rsa.PublicKey:
		return fmt.Sprintf("RSA %d e=%d", key.N.BitLen(), key.E)
	case *rsa.PrivateKey:
		return keyKind(&key.PublicKey)
	case *ecdsa.PublicKey:
		return "ECDSA " + key.Curve.Params().Name
	case *ecdsa.PrivateKey:
		return keyKind(&key.PublicKey)
	case ed25519.PublicKey, ed25519.PrivateKey:
		return "Ed25519"
	}
	return fmt.Sprintf("%T", key)
}

// certInfo is everything of a certificate that does not differ from one run to the next.
func certInfo(text string) (string, error) {
	cert, err := firstCert(text)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("v%d subject=%v issuer=%v serial>0=%v valid=%v %v key=%v usage=%d ext=%v ca=%v/%v path=%d/%v dns=%q ip=%v mail=%q uri=%v self=%v",
		cert.Version, cert.Subject, cert.Issuer, cert.SerialNumber.Sign() > 0, cert.NotAfter.Sub(cert.NotBefore),
		cert.SignatureAlgorithm, keyKind(cert.PublicKey), cert.KeyUsage, cert.ExtKeyUsage, cert.IsCA,
		cert.BasicConstraintsValid, cert.MaxPathLen, cert.MaxPathLenZero, cert.DNSNames, cert.IPAddresses,
		cert.EmailAddresses, cert.URIs, string(cert.AuthorityKeyId) == string(cert.SubjectKeyId)), nil
}

func parsedKey(text string) (any, string, error) {
	block, rest := pem.Decode([]byte(text))
	if block == nil || len(rest) != 0 {
		return nil, "", errors.New("not one PEM block")
	}
	if block.Type == "DSA PRIVATE KEY" {
		var numbers struct{ Version, P, Q, G, Y, X *big.Int }
		if rest, err := asn1.Unmarshal(block.Bytes, &numbers); err != nil || len(rest) != 0 {
			return nil, "", fmt.Errorf("not a DSA key: %w", err)
		}
		key := &dsa.PrivateKey{X: numbers.X}
		key.P, key.Q, key.G, key.Y = numbers.P, numbers.Q, numbers.G, numbers.Y
		return key, block.Type, nil
	}
	key, err := anyKey(block.Bytes)
	return key, block.Type, err
}

// keyInfo is label, kind and size of a private key. A DSA key is tried out.
func keyInfo(text string) (string, error) {
	key, label, err := parsedKey(text)
	if err != nil {
		return "", err
	}
	if key, ok := key.(*dsa.PrivateKey); ok {
		r, s, err := dsa.Sign(rand.Reader, key, make([]byte, 20))
		good := err == nil && dsa.Verify(&key.PublicKey, make([]byte, 20), r, s)
		prime := key.P.ProbablyPrime(20) && key.Q.ProbablyPrime(20)
		return fmt.Sprintf("%s P%d Q%d signs=%v prime=%v", label, key.P.BitLen(), key.Q.BitLen(), good, prime), nil
	}
	return label + " " + keyKind(key), nil
}

// sameKey tells whether a certificate is for a private key.
func sameKey(cert, key string) (bool, error) {
	parsed, err := firstCert(cert)
	if err != nil {
		return false, err
	}
	private, _, err := parsedKey(key)
	if err != nil {
		return false, err
	}
	signer, ok := private.(crypto.Signer)
	if !ok {
		return false, errors.New("no signer")
	}
	public, ok := signer.Public().(interface{ Equal(crypto.PublicKey) bool })
	return ok && public.Equal(parsed.PublicKey), nil
}

// signedBy verifies the signature, the issuer's name and the identifiers of a certificate.
func signedBy(cert, authority string) (string, error) {
	child, err := firstCert(cert)
	if err != nil {
		return "", err
	}
	parent, err := firstCert(authority)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("signature=%v issuer=%v id=%v", child.CheckSignatureFrom(parent),
		string(child.RawIssuer) == string(parent.RawSubject), string(child.AuthorityKeyId) == string(parent.SubjectKeyId)), nil
}

// openTrust lists the subjects of a trust store.
func openTrust(password, file string) (string, error) {
	certs, err := pkcs12.DecodeTrustStore([]byte(file), password)
	var names []string
	for _, cert := range certs {
		names = append(names, cert.Subject.String())
	}
	return strings.Join(names, "|"), err
}

// madeP12 writes a file in any of the library's profiles.
func madeP12(profile, chain, key, password string) (string, error) {
	encoder := map[string]*pkcs12.Encoder{
		"rc2": pkcs12.LegacyRC2, "des": pkcs12.LegacyDES, "modern": pkcs12.Modern, "passwordless": pkcs12.Passwordless,
	}[profile]
	certs, err := certificates(chain)
	if err != nil {
		return "", err
	}
	private, _, err := parsedKey(key)
	if err != nil {
		return "", err
	}
	out, err := encoder.Encode(private, certs[0], certs[1:], password)
	return base64.StdEncoding.EncodeToString(out), err
}

func rsaEncrypt(hashName, text, key string) (string, error) {
	private, _, err := parsedKey(key)
	if err != nil {
		return "", err
	}
	public := &private.(*rsa.PrivateKey).PublicKey
	out, err := rsa.EncryptOAEP(oaepHash(hashName), rand.Reader, public, []byte(text), nil)
	return base64.StdEncoding.EncodeToString(out), err
}
