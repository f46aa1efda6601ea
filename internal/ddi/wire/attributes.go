// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
)

// Mode is the effect of sent attributes on the stored ones.
type Mode string

const (
	// ModeMerge adds and overwrites; a null value removes its key. The default.
	ModeMerge Mode = "merge"
	// ModeReplace removes every attribute that is not sent.
	ModeReplace Mode = "replace"
	// ModeRemove removes the sent keys.
	ModeRemove Mode = "remove"
)

var modes = []Mode{ModeMerge, ModeReplace, ModeRemove}

// ConfigData contains the attributes of a device (resource 6). A nil value is null. Older clients
// also send id, time and status, which are ignored.
type ConfigData struct {
	Mode Mode               `json:"mode,omitempty"`
	Data map[string]*string `json:"data"`
}

// NewConfigData returns the document that sends attributes in this mode.
func NewConfigData(mode Mode, attributes map[string]string) ConfigData {
	data := make(map[string]*string, len(attributes))
	for key, value := range attributes {
		data[key] = &value
	}
	return ConfigData{Mode: mode, Data: data}
}

// DecodeConfigData reads attributes. Numbers and booleans become texts. Without a mode it is merge.
func DecodeConfigData(body []byte) (ConfigData, error) {
	var loose struct {
		Mode Mode                       `json:"mode"`
		Data map[string]json.RawMessage `json:"data"`
	}
	if err := decode(body, &loose); err != nil {
		return ConfigData{}, err
	}
	if loose.Mode == "" {
		loose.Mode = ModeMerge
	}
	if err := oneOf("mode", loose.Mode, modes); err != nil {
		return ConfigData{}, err
	}
	if loose.Data == nil {
		return ConfigData{}, errors.New("data is missing; send an object of attribute names and values")
	}
	data, err := attributeValues(loose.Data)
	return ConfigData{Mode: loose.Mode, Data: data}, err
}

func attributeValues(raw map[string]json.RawMessage) (map[string]*string, error) {
	values := make(map[string]*string, len(raw))
	for _, key := range slices.Sorted(maps.Keys(raw)) {
		value := raw[key]
		switch value[0] {
		case 'n':
			values[key] = nil
		case '{':
			return nil, fmt.Errorf("data[%q] must be text or null, not an object", key)
		case '[':
			return nil, fmt.Errorf("data[%q] must be text or null, not a list", key)
		default:
			text := plain(value)
			values[key] = &text
		}
	}
	return values, nil
}

// InstalledSet is the distribution set that a device reports as installed (resource 8).
type InstalledSet struct {
	Name    string `json:"name"`
	Version string `json:"version"`
}

// DecodeInstalledSet reads the installed distribution set. Both fields are required.
func DecodeInstalledSet(body []byte) (InstalledSet, error) {
	var set InstalledSet
	if err := decode(body, &set); err != nil {
		return InstalledSet{}, err
	}
	switch {
	case set.Name == "":
		return InstalledSet{}, errors.New("name is missing; send the name of the installed distribution set")
	case set.Version == "":
		return InstalledSet{}, errors.New("version is missing; send the version of the installed distribution set")
	}
	return set, nil
}
