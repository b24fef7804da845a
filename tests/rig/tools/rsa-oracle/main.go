// Opens one sealed value again and again with Go's crypto/rsa, as the Sealed Secrets controller does, and prints the
// median time of one opening in nanoseconds. Arguments: key in PEM (PKCS#1), file with the value in base64, label,
// seconds to measure.
package main

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/binary"
	"encoding/pem"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"
)

func check(err error) {
	if err != nil {
		panic(err)
	}
}

func open(key *rsa.PrivateKey, value, label []byte) []byte {
	n := int(binary.BigEndian.Uint16(value))
	session, err := rsa.DecryptOAEP(sha256.New(), rand.Reader, key, value[2:2+n], label)
	check(err)
	block, err := aes.NewCipher(session)
	check(err)
	aead, err := cipher.NewGCM(block)
	check(err)
	plain, err := aead.Open(nil, make([]byte, aead.NonceSize()), value[2+n:], nil)
	check(err)
	return plain
}

func main() {
	runtime.GOMAXPROCS(1)
	text, err := os.ReadFile(os.Args[1])
	check(err)
	block, _ := pem.Decode(text)
	key, err := x509.ParsePKCS1PrivateKey(block.Bytes)
	check(err)
	encoded, err := os.ReadFile(os.Args[2])
	check(err)
	value, err := base64.StdEncoding.DecodeString(strings.TrimSpace(string(encoded)))
	check(err)
	seconds, err := strconv.ParseFloat(os.Args[4], 64)
	check(err)

	var times []time.Duration
	for start := time.Now(); time.Since(start).Seconds() < seconds; {
		one := time.Now()
		open(key, value, []byte(os.Args[3]))
		times = append(times, time.Since(one))
	}
	slices.Sort(times)
	fmt.Println(times[len(times)/2].Nanoseconds())
}
