// age-plugin-rig: a plugin for age, on the framework that its authors give. Its recipients are X25519 keys in another
// coat, so that what one program wraps through it another must unwrap.
package main

import (
	"errors"
	"fmt"
	"os"

	"filippo.io/age"
	"filippo.io/age/plugin"
)

const seed = "AGE-SECRET-KEY-13RLAC426AT9CCP5DK36RZFYZGJNXZSTTYSARGQNLN3TWGC9F4C4Q9CQWR9"

type wrapped struct {
	p      *plugin.Plugin
	key    *age.X25519Identity
	asking bool
}

func (w wrapped) Wrap(fileKey []byte) ([]*age.Stanza, error) {
	stanzas, err := w.key.Recipient().Wrap(fileKey)
	for _, stanza := range stanzas {
		stanza.Type = "rig"
	}
	return stanzas, err
}

func (w wrapped) Unwrap(stanzas []*age.Stanza) ([]byte, error) {
	for _, stanza := range stanzas {
		if stanza.Type != "rig" {
			continue
		}
		if w.asking {
			if pin, err := w.p.RequestValue("PIN of the rig:", true); err != nil || pin != "1234" {
				return nil, errors.New("the PIN is wrong")
			}
		}
		return w.key.Unwrap([]*age.Stanza{{Type: "X25519", Args: stanza.Args, Body: stanza.Body}})
	}
	return nil, age.ErrIncorrectIdentity
}

func main() {
	if len(os.Args) == 2 && os.Args[1] == "--version" {
		fmt.Println("age-plugin-rig")
		return
	}
	key, err := age.ParseX25519Identity(seed)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	// A recipient, an identity, one that asks for a PIN, and a recipient that is refused.
	if len(os.Args) == 2 && os.Args[1] == "--keys" {
		fmt.Println(plugin.EncodeRecipient("rig", []byte("k")))
		fmt.Println(plugin.EncodeIdentity("rig", []byte("k")))
		fmt.Println(plugin.EncodeIdentity("rig", []byte("pin")))
		fmt.Println(plugin.EncodeRecipient("rig", []byte("refused")))
		return
	}
	p, err := plugin.New("rig")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	p.HandleRecipient(func(data []byte) (age.Recipient, error) {
		if string(data) == "refused" {
			return nil, errors.New("this recipient is refused")
		}
		return wrapped{p: p, key: key}, nil
	})
	p.HandleIdentity(func(data []byte) (age.Identity, error) {
		return wrapped{p, key, string(data) == "pin"}, nil
	})
	os.Exit(p.Main())
}
