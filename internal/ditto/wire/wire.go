// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

// Package wire has the messages of the SoftwareUpdatable feature: MQTT topics in the forms of
// Eclipse Hono, envelopes of the Eclipse Ditto protocol, and the entities of the feature
// (org.eclipse.hawkbit.swupdatable:SoftwareUpdatable:2.0.0).
//
// It is pure: no client, no clock and no log. Devices read what it writes, so names and types are
// exact. What it reads comes from devices, whose spellings differ: names are compared
// case-insensitively, numbers may be texts and texts numbers, and a field with a wrong type is
// ignored if the message has a meaning without it. Everything it reads is bounded. Its errors are
// sentences that can be sent to the device.
package wire

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Limits of what is read.
const (
	// MaxMessage is the maximum size of a message, in bytes.
	MaxMessage = 256 << 10
	// MaxFeatures is the maximum number of features of one message.
	MaxFeatures = 16
	// MaxEntries is the maximum number of entries of one dependency map or list of software. It is
	// more than what is stored, so that what does not fit can be counted.
	MaxEntries = 4096
	// maxDepth is how deep values may be nested.
	maxDepth = 32
	// maxFeatureID is the maximum length of the id of a feature, in bytes.
	maxFeatureID = 256
)

// check returns an error for a message that is too large, is not JSON, or is nested too deep.
func check(message []byte) error {
	if len(message) > MaxMessage {
		return fmt.Errorf("the message has %d bytes; send at most %d", len(message), MaxMessage)
	}
	depth, inText := 0, false
	for i := 0; i < len(message); i++ {
		switch c := message[i]; {
		case inText && c == '\\':
			i++
		case c == '"':
			inText = !inText
		case inText:
		case c == '{' || c == '[':
			if depth++; depth > maxDepth {
				return fmt.Errorf("the message is nested deeper than %d levels", maxDepth)
			}
		case c == '}' || c == ']':
			depth--
		}
	}
	if !json.Valid(message) {
		return errors.New("the message is not JSON")
	}
	return nil
}

// object reads an object with names in lower case. Of names that differ only in case the one that
// is written as in the model is used.
func object(raw json.RawMessage, what string, model ...string) (map[string]json.RawMessage, error) {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(raw, &fields); err != nil || fields == nil {
		return nil, fmt.Errorf("%s is not an object", what)
	}
	found := make(map[string]json.RawMessage, len(model))
	for _, name := range model {
		if value, ok := fields[name]; ok {
			found[name] = value
			continue
		}
		best := ""
		for other := range fields { // the smallest name, so that the result does not depend on the order
			if strings.EqualFold(other, name) && (best == "" || other < best) {
				best = other
			}
		}
		if best != "" {
			found[name] = fields[best]
		}
	}
	return found, nil
}

// isNull reports whether a field is missing or null.
func isNull(raw json.RawMessage) bool {
	raw = bytes.TrimSpace(raw)
	return len(raw) == 0 || string(raw) == "null"
}

// text returns a text, or a number or boolean as text. Everything else is "".
func text(raw json.RawMessage) string {
	raw = bytes.TrimSpace(raw)
	if len(raw) == 0 {
		return ""
	}
	switch raw[0] {
	case '"':
		var s string
		_ = json.Unmarshal(raw, &s) // the message has been checked
		return s
	case '{', '[', 'n':
		return ""
	}
	return string(raw)
}

// flag returns a boolean, also one that is written as text.
func flag(raw json.RawMessage) bool {
	value, err := strconv.ParseBool(strings.ToLower(text(raw)))
	return err == nil && value
}

// integer returns a number within the bounds of an int32, also one that is written as text, and
// reports whether there is one. Digits after the point are dropped.
func integer(raw json.RawMessage) (int32, bool) {
	number, err := strconv.ParseFloat(strings.TrimSpace(text(raw)), 64)
	if err != nil || number != number {
		return 0, false
	}
	return int32(min(max(number, -1<<31), 1<<31-1)), true
}

// marshal writes JSON without the escapes that are only needed in HTML, because small clients do
// not read them.
func marshal(value any) ([]byte, error) {
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	err := encoder.Encode(value)
	return bytes.TrimSuffix(out.Bytes(), []byte("\n")), err
}
