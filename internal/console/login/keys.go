// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package login

import (
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-logr/logr"
)

const (
	// minKey is the minimum length of a key in the key file.
	minKey = 32
	// keysInterval is the shortest time between two reads of the key file.
	keysInterval = 10 * time.Second
)

// keyring has the keys of sessions. It reads their file again while it is used, so that keys can be
// replaced without a restart. As long as the file cannot be used, the last keys stay in use.
type keyring struct {
	// file has the keys. If it is empty, there is a random key.
	file string
	// realm separates the keys of different providers.
	realm string
	now   func() time.Time
	log   logr.Logger

	mu     sync.Mutex
	readAt time.Time
	keys   []string
	boxes  boxes
	// failure says why the file cannot be used. Empty: it can.
	failure string
}

// boxes are made from the same keys, for different purposes.
type boxes struct {
	// sessions seals sessions, and logins what a browser keeps during a login.
	sessions, logins box
}

// newKeyring returns the keys of a file, which must be valid at the start.
func newKeyring(file, realm string, now func() time.Time, log logr.Logger) (*keyring, error) {
	k := &keyring{file: file, realm: realm, now: now, log: log, readAt: now()}
	if file == "" {
		log.Info("Sessions of the console end with this process, and are valid in no other replica: --console-session-key-file is not set")
		return k, k.use([]string{rand.Text() + rand.Text()})
	}
	keys, err := keysFrom(file)
	if err != nil {
		return nil, err
	}
	return k, k.use(keys)
}

// keysFrom returns the keys of a file, one in each line. The first one seals, all of them open.
func keysFrom(file string) ([]string, error) {
	content, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read the keys of sessions (--console-session-key-file): %w", err)
	}
	var keys []string
	for number, line := range strings.Split(string(content), "\n") {
		line = strings.TrimSpace(line)
		if line == "" {
			continue
		}
		if len(line) < minKey {
			return nil, fmt.Errorf("%s (--console-session-key-file): the key in line %d has %d characters, and must have at least %d: make one with `head -c 32 /dev/urandom | base64`", file, number+1, len(line), minKey)
		}
		keys = append(keys, line)
	}
	if len(keys) == 0 {
		return nil, fmt.Errorf("%s (--console-session-key-file) has no key: write one with `head -c 32 /dev/urandom | base64`", file)
	}
	return keys, nil
}

// use replaces the keys.
func (k *keyring) use(keys []string) error {
	sessions, err := newBox(keys, "session "+k.realm)
	logins, failed := newBox(keys, "login "+k.realm)
	if err := errors.Join(err, failed); err != nil {
		return err
	}
	k.keys, k.boxes = keys, boxes{sessions, logins}
	return nil
}

// current returns the boxes of the present keys.
func (k *keyring) current() boxes {
	k.mu.Lock()
	defer k.mu.Unlock()
	if now := k.now(); k.file != "" && now.Sub(k.readAt).Abs() >= keysInterval {
		k.readAt = now
		k.readAgain()
	}
	return k.boxes
}

// readAgain reads the file, and uses its keys if they have changed.
func (k *keyring) readAgain() {
	keys, err := keysFrom(k.file)
	if err == nil && !slices.Equal(keys, k.keys) {
		if err = k.use(keys); err == nil {
			k.log.Info("The keys of sessions of the console were read again after a change", "file", k.file, "keys", len(keys))
		}
	}
	failure := ""
	if err != nil {
		failure = err.Error()
	}
	if failure != "" && failure != k.failure {
		k.log.Error(err, "The keys of sessions of the console cannot be read again, so the last ones stay in use", "file", k.file)
	}
	k.failure = failure
}
