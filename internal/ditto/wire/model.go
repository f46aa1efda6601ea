// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Subjects of the operations of the feature.
const (
	Install      = "install"
	Download     = "download"
	Cancel       = "cancel"
	Remove       = "remove"
	CancelRemove = "cancelRemove"
)

// UpdateAction (SoftwareUpdateAction) is the value of install, download and cancel.
type UpdateAction struct {
	CorrelationID string `json:"correlationId"`
	// Modules are without artifacts in a cancel.
	Modules []ModuleAction `json:"softwareModules"`
	// Weight is 0 to 1000; a greater one is installed first.
	Weight   *int32            `json:"weight,omitempty"`
	Metadata map[string]string `json:"metadata,omitempty"`
	Forced   bool              `json:"forced"`
}

// ModuleAction (SoftwareModuleAction) is one software module of an UpdateAction.
type ModuleAction struct {
	Module    ModuleID          `json:"softwareModule"`
	Artifacts []ArtifactAction  `json:"artifacts,omitempty"`
	Metadata  map[string]string `json:"metadata,omitempty"`
}

// ModuleID (SoftwareModuleId) identifies a software module.
type ModuleID struct {
	Name    string `json:"name"`
	Version string `json:"version"`
}

// String returns name:version.
func (m ModuleID) String() string { return m.Name + ":" + m.Version }

// ArtifactAction (SoftwareArtifactAction) is one file. Its name is written twice, because the model
// and the agents name the field `filename`, and the text of the specification `fileName`.
type ArtifactAction struct {
	FileName string
	// Download has the links by protocol: HTTP, HTTPS, FTP, SFTP.
	Download map[string]Links
	// Checksums are hexadecimal, by SHA1, MD5 and SHA256.
	Checksums map[string]string
	// Size in bytes.
	Size int64
}

// Links are the URLs of a file for one protocol.
type Links struct {
	URL string `json:"url"`
	// MD5URL is the URL of a file with the MD5 sum; "": there is none.
	MD5URL string `json:"md5url,omitempty"`
}

type artifact struct {
	FileName      string            `json:"filename"`
	SecondSpelled string            `json:"fileName"`
	Download      map[string]Links  `json:"download,omitempty"`
	Checksums     map[string]string `json:"checksums"`
	Size          int64             `json:"size"`
}

// MarshalJSON writes both names of the file name.
func (a ArtifactAction) MarshalJSON() ([]byte, error) {
	return marshal(artifact{FileName: a.FileName, SecondSpelled: a.FileName, Download: a.Download, Checksums: orEmpty(a.Checksums), Size: a.Size})
}

// UnmarshalJSON reads either name of the file name.
func (a *ArtifactAction) UnmarshalJSON(raw []byte) error {
	var read artifact
	err := json.Unmarshal(raw, &read)
	*a = ArtifactAction{FileName: read.FileName, Download: read.Download, Checksums: read.Checksums, Size: read.Size}
	if a.FileName == "" {
		a.FileName = read.SecondSpelled
	}
	return err
}

func orEmpty(m map[string]string) map[string]string {
	if m == nil {
		return map[string]string{}
	}
	return m
}

// RemoveAction (SoftwareRemoveAction) is the value of remove and cancelRemove. Its list is written
// twice, because the model and the agents name it `software`, and the text of the specification
// `removeList`.
type RemoveAction struct {
	CorrelationID string
	Software      []Dependency
	Weight        *int32
	Metadata      map[string]string
	Forced        bool
}

type removal struct {
	CorrelationID string            `json:"correlationId"`
	Software      []Dependency      `json:"software"`
	RemoveList    []Dependency      `json:"removeList"`
	Weight        *int32            `json:"weight,omitempty"`
	Metadata      map[string]string `json:"metadata,omitempty"`
	Forced        bool              `json:"forced"`
}

// MarshalJSON writes both names of the list.
func (a RemoveAction) MarshalJSON() ([]byte, error) {
	list := a.Software
	if list == nil {
		list = []Dependency{}
	}
	return marshal(removal{CorrelationID: a.CorrelationID, Software: list, RemoveList: list, Weight: a.Weight, Metadata: a.Metadata, Forced: a.Forced})
}

// UnmarshalJSON reads either name of the list.
func (a *RemoveAction) UnmarshalJSON(raw []byte) error {
	var read removal
	err := json.Unmarshal(raw, &read)
	*a = RemoveAction{CorrelationID: read.CorrelationID, Software: read.Software, Weight: read.Weight, Metadata: read.Metadata, Forced: read.Forced}
	if a.Software == nil {
		a.Software = read.RemoveList
	}
	return err
}

// Dependency (DependencyDescription) is a piece of software or hardware.
type Dependency struct {
	Group   string `json:"group"`
	Name    string `json:"name"`
	Version string `json:"version"`
	// Type is optional; for installed software it is the type that the feature serves.
	Type string `json:"type,omitempty"`
}

// String returns group:name:version.
func (d Dependency) String() string { return d.Group + ":" + d.Name + ":" + d.Version }

// Key returns the key of the dependency in a DependencyMap: group.name:version, in which a slash is
// written %2F.
func (d Dependency) Key() string {
	return strings.ReplaceAll(d.Group+"."+d.Name+":"+d.Version, "/", "%2F")
}

// DependencyMap is a map of dependencies, as a sorted list without duplicates.
type DependencyMap []Dependency

// MarshalJSON writes the map with the keys of the dependencies.
func (m DependencyMap) MarshalJSON() ([]byte, error) {
	byKey := make(map[string]Dependency, len(m))
	for _, d := range m {
		byKey[d.Key()] = d
	}
	return marshal(byKey)
}

// dependencyMap reads a map of dependencies. Its keys have no meaning, because some agents use
// running numbers, except for a value without group, name and version. A list is read as well.
// Entries without a name are left out.
func dependencyMap(raw json.RawMessage, what string) ([]Dependency, error) {
	if isNull(raw) {
		return []Dependency{}, nil
	}
	var list []json.RawMessage
	keys := []string(nil)
	var entries map[string]json.RawMessage
	switch {
	case json.Unmarshal(raw, &entries) == nil:
		keys = slices.Sorted(maps.Keys(entries))
		for _, key := range keys {
			list = append(list, entries[key])
		}
	case json.Unmarshal(raw, &list) == nil:
	default:
		return nil, fmt.Errorf("%s is not a map of dependencies", what)
	}
	if len(list) > MaxEntries {
		return nil, fmt.Errorf("%s has %d entries; send at most %d", what, len(list), MaxEntries)
	}
	found := make([]Dependency, 0, len(list))
	for i, entry := range list {
		d := dependency(entry)
		if d.Group+d.Name+d.Version == "" && keys != nil {
			d = fromKey(keys[i], d.Type)
		}
		if d.Name != "" {
			found = append(found, d)
		}
	}
	slices.SortFunc(found, compareDependencies)
	return slices.Compact(found), nil
}

func compareDependencies(a, b Dependency) int {
	for _, c := range []int{strings.Compare(a.Group, b.Group), strings.Compare(a.Name, b.Name), strings.Compare(a.Version, b.Version)} {
		if c != 0 {
			return c
		}
	}
	return strings.Compare(a.Type, b.Type)
}

// dependency reads one dependency. What is not an object is empty.
func dependency(raw json.RawMessage) Dependency {
	fields, err := object(raw, "a dependency", "group", "name", "version", "type")
	if err != nil {
		return Dependency{}
	}
	return Dependency{Group: text(fields["group"]), Name: text(fields["name"]), Version: text(fields["version"]), Type: text(fields["type"])}
}

// fromKey reads group.name:version. The last dot ends the group. A key of another form is nothing.
func fromKey(key, dependencyType string) Dependency {
	key = strings.NewReplacer("%2F", "/", "%2f", "/").Replace(key)
	at := strings.LastIndex(key, ":")
	if at < 0 {
		return Dependency{}
	}
	d := Dependency{Name: key[:at], Version: key[at+1:], Type: dependencyType}
	if dot := strings.LastIndex(d.Name, "."); dot >= 0 {
		d.Group, d.Name = d.Name[:dot], d.Name[dot+1:]
	}
	return d
}

// software reads the software of a status: a list, a map, or one dependency.
func software(raw json.RawMessage) []Dependency {
	if isNull(raw) {
		return nil
	}
	if one := dependency(raw); one.Name != "" {
		return []Dependency{one}
	}
	list, err := dependencyMap(raw, "software")
	if err != nil || len(list) == 0 {
		return nil
	}
	return list
}

// DecodeUpdateAction reads the value of install, download or cancel, for programs that act as a
// device.
func DecodeUpdateAction(value json.RawMessage) (UpdateAction, error) {
	var a UpdateAction
	if err := json.Unmarshal(value, &a); err != nil {
		return a, err
	}
	if a.CorrelationID == "" {
		return a, errors.New("correlationId is missing")
	}
	return a, nil
}

// DecodeRemoveAction reads the value of remove or cancelRemove, for programs that act as a device.
func DecodeRemoveAction(value json.RawMessage) (RemoveAction, error) {
	var a RemoveAction
	if err := json.Unmarshal(value, &a); err != nil {
		return a, err
	}
	if a.CorrelationID == "" {
		return a, errors.New("correlationId is missing")
	}
	return a, nil
}
