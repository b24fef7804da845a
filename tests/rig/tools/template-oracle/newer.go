package main

import (
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"hash"
	"strings"
	"text/template"

	"software.sslmate.com/src/go-pkcs12"
)

// newer has the functions that ExternalSecrets gained after its last module that a proxy serves (v0.16.2), written
// here from their documentation on the libraries that it uses itself.
var newer = template.FuncMap{
	"certSANs":   certSANs,
	"hexdec":     hexdec,
	"rsaDecrypt": rsaDecrypt,
	"pemTruststoreToPKCS12": func(certs string) (string, error) {
		return trustStore(certs, "")
	},
	"pemTruststoreToPKCS12Pass": trustStore,
}

// probes look at what either side made. They are no functions of an incumbent.
var probes = template.FuncMap{
	"certInfo":   certInfo,
	"keyInfo":    keyInfo,
	"openTrust":  openTrust,
	"madeP12":    madeP12,
	"rsaEncrypt": rsaEncrypt,
	"sameKey":    sameKey,
	"signedBy":   signedBy,
}

func hexdec(text string) string {
	out, err := hex.DecodeString(text)
	if err != nil {
		return err.Error()
	}
	return string(out)
}

func certSANs(text string) ([]string, error) {
	text = text[max(0, strings.Index(text, "-----BEGIN")):]
	block, _ := pem.Decode([]byte(text))
	if block == nil {
		return nil, errors.New("failed to decode PEM block")
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("failed to parse certificate: %w", err)
	}
	names := append([]string{}, cert.DNSNames...)
	for _, ip := range cert.IPAddresses {
		names = append(names, ip.String())
	}
	names = append(names, cert.EmailAddresses...)
	for _, uri := range cert.URIs {
		names = append(names, uri.String())
	}
	return names, nil
}

func anyKey(der []byte) (any, error) {
	if key, err := x509.ParsePKCS1PrivateKey(der); err == nil {
		return key, nil
	}
	if key, err := x509.ParsePKCS8PrivateKey(der); err == nil {
		return key, nil
	}
	if key, err := x509.ParseECPrivateKey(der); err == nil {
		return key, nil
	}
	return nil, errors.New("unable to parse private key type")
}

func oaepHash(name string) hash.Hash {
	switch name {
	case "SHA1":
		return sha1.New()
	case "SHA512":
		return sha512.New()
	}
	return sha256.New()
}

func rsaDecrypt(scheme, hashName, sealed, keyPEM string) (string, error) {
	switch scheme {
	case "None":
		return sealed, nil
	case "RSA-OAEP":
	default:
		return "", fmt.Errorf("decryption scheme %v is not supported", scheme)
	}
	block, _ := pem.Decode([]byte(keyPEM))
	if block == nil {
		return "", errors.New("failed to decode PEM block")
	}
	key, err := anyKey(block.Bytes)
	if err != nil {
		return "", fmt.Errorf("could not parse private key: %w", err)
	}
	private, ok := key.(*rsa.PrivateKey)
	if !ok {
		return "", errors.New("could not parse RSA private key")
	}
	out, err := rsa.DecryptOAEP(oaepHash(hashName), nil, private, []byte(sealed), nil)
	if err != nil {
		return "", fmt.Errorf("error decrypting data with RSA: %w", err)
	}
	return string(out), nil
}

func certificates(text string) (certs []*x509.Certificate, err error) {
	for rest := []byte(text); len(rest) > 0; {
		var block *pem.Block
		block, rest = pem.Decode(rest)
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		certs = append(certs, cert)
	}
	return certs, nil
}

func trustStore(text, password string) (string, error) {
	certs, err := certificates(text)
	if err != nil {
		return "", err
	}
	out, err := pkcs12.Modern.EncodeTrustStore(certs, password)
	return base64.StdEncoding.EncodeToString(out), err
}
