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

// Definition is the definition of the feature.
const Definition = "org.eclipse.hawkbit.swupdatable:SoftwareUpdatable:2.0.0"

// Changes are what an envelope changes in the digital twin of a device.
type Changes struct {
	// ReplacesAll means that features that are not among Features do not exist any more.
	ReplacesAll bool
	// Features are sorted by id. Features that are not SoftwareUpdatable are left out.
	Features []Change
}

// Change is a change of one feature. Nil fields do not change.
type Change struct {
	ID string
	// Removed means that the feature does not exist any more.
	Removed bool
	// Replaced means that the feature was sent as a whole, as a device does after each connection.
	Replaced bool
	// Definition is the definition of SoftwareUpdatable.
	Definition *string
	// ModuleType is the type of the software modules that the feature serves.
	ModuleType *string
	// Last and LastFailed are reports. A device that sets them to null reports nothing.
	Last, LastFailed *OperationStatus
	// Installed and Context are the dependencies.
	Installed, Context []Dependency
	// Edits are changes of single dependencies.
	Edits []Edit

	// isMerge means that maps of dependencies have only what changes.
	isMerge bool
}

// Edit is a change of one dependency, by its key.
type Edit struct {
	// IsContext means that the map is contextDependencies, and not installedDependencies.
	IsContext bool
	// Removed is the dependency that was removed, as its key names it; otherwise Dependency was
	// added or changed.
	Removed    bool
	Dependency Dependency
}

// Changes returns what a command or an event of the device changes in its digital twin. The error
// is a sentence for the developer of the device. A change that does not concern SoftwareUpdatable
// is empty.
func (e Envelope) Changes() (Changes, error) {
	action := e.Topic.Action
	switch action {
	case "created":
		action = Create
	case "modified":
		action = Modify
	case "merged":
		action = Merge
	case "deleted":
		action = Delete
	}
	if e.Topic.Channel != Twin || e.Topic.Criterion != Commands && e.Topic.Criterion != Events {
		return Changes{}, fmt.Errorf("%s/%s is not supported; send twin/commands/modify", e.Topic.Channel, e.Topic.Criterion)
	}
	switch action {
	case Create, Modify, Merge, Delete:
	default:
		return Changes{}, fmt.Errorf("the action %q is not supported; send create, modify, merge or delete", short(action))
	}
	steps, err := split(e.Path)
	if err != nil {
		return Changes{}, err
	}
	return change(action, steps, e.Value)
}

// change applies an action at a path of the thing.
func change(action string, steps []string, value json.RawMessage) (Changes, error) {
	deletes := action == Delete || action == Merge && len(steps) > 0 && isNull(value)
	switch {
	case len(steps) == 0 && deletes:
		return Changes{ReplacesAll: true}, nil
	case len(steps) == 0:
		fields, err := object(value, "the thing", "features")
		if err != nil {
			return Changes{}, err
		}
		if isNull(fields["features"]) && action == Merge && fields["features"] == nil {
			return Changes{}, nil
		}
		return change(action, []string{"features"}, fields["features"])
	case steps[0] != "features":
		return Changes{}, nil
	case len(steps) == 1:
		return changeFeatures(action, deletes, value)
	}
	if len(steps[1]) > maxFeatureID {
		return Changes{}, fmt.Errorf("the id of the feature has more than %d characters", maxFeatureID)
	}
	c := Change{ID: steps[1], isMerge: action == Merge}
	isOurs, err := c.at(action, deletes, steps[2:], value)
	if err != nil || !isOurs {
		return Changes{}, err
	}
	c.isMerge = false
	return Changes{Features: []Change{c}}, nil
}

// changeFeatures reads several features. One that is wrong does not affect the others: the error is
// that of the first wrong one, and is returned only if no other one was read.
func changeFeatures(action string, deletes bool, value json.RawMessage) (Changes, error) {
	all := Changes{ReplacesAll: action != Merge || deletes}
	if deletes || isNull(value) {
		all.ReplacesAll = true
		return all, nil
	}
	var features map[string]json.RawMessage
	if err := json.Unmarshal(value, &features); err != nil {
		return Changes{}, errors.New("features is not an object")
	}
	var first error
	for _, id := range slices.Sorted(maps.Keys(features)) {
		one, err := change(action, []string{"features", id}, features[id])
		if first == nil {
			first = err
		}
		all.Features = append(all.Features, one.Features...)
	}
	if first != nil && len(all.Features) == 0 {
		return Changes{}, first
	}
	if len(all.Features) > MaxFeatures {
		return Changes{}, fmt.Errorf("the message has %d features; send at most %d", len(all.Features), MaxFeatures)
	}
	return all, nil
}

// at applies an action at a path of the feature, and reports whether it concerns SoftwareUpdatable.
func (c *Change) at(action string, deletes bool, steps []string, value json.RawMessage) (bool, error) {
	switch {
	case len(steps) == 0 && deletes:
		c.Removed = true
		return true, nil
	case len(steps) == 0:
		fields, err := object(value, "the feature", "definition", "properties")
		if err != nil {
			return false, err
		}
		definition, named := definitionOf(fields["definition"])
		if named && definition == "" {
			return false, nil // another kind of feature
		}
		if definition != "" {
			c.Definition = &definition
		}
		c.Replaced = action != Merge
		isOurs, err := c.properties(fields["properties"])
		if _, isOther := errors.AsType[otherShape](err); isOther && definition == "" {
			return false, nil // another kind of feature
		}
		return isOurs || definition != "", err
	case steps[0] == "definition" && len(steps) == 1:
		definition, _ := definitionOf(value)
		c.Definition = &definition
		return definition != "", nil
	case steps[0] != "properties":
		return false, nil
	case len(steps) == 1:
		return c.properties(value)
	case steps[1] != "status":
		return false, nil
	case len(steps) == 2:
		return c.status(value)
	}
	return c.property(deletes, steps[2:], value)
}

// definitionOf returns the definition of SoftwareUpdatable, of any version, in a list of
// definitions, and reports whether there are any.
func definitionOf(raw json.RawMessage) (definition string, named bool) {
	if isNull(raw) {
		return "", false
	}
	var list []json.RawMessage
	if json.Unmarshal(raw, &list) != nil {
		list = []json.RawMessage{raw}
	}
	for _, entry := range list {
		if id := text(entry); strings.Contains(id, ":SoftwareUpdatable:") && len(id) <= maxFeatureID {
			return id, true
		}
	}
	return "", len(list) > 0
}

// otherShape is the error for properties, or their status, that are not those of SoftwareUpdatable.
type otherShape struct{ error }

func (c *Change) properties(raw json.RawMessage) (bool, error) {
	if isNull(raw) {
		return false, nil
	}
	fields, err := object(raw, "properties", "status")
	if err != nil {
		return false, otherShape{err}
	}
	return c.status(fields["status"])
}

// properties of the feature.
const (
	moduleType = "softwareModuleType"
	installed  = "installedDependencies"
	context    = "contextDependencies"
	last       = "lastOperation"
	lastFailed = "lastFailedOperation"
)

// status reads the properties. Those that are wrong do not affect the others: the error is that of
// the first wrong one, and is returned only if no other one was read.
func (c *Change) status(raw json.RawMessage) (bool, error) {
	if isNull(raw) {
		return false, nil
	}
	fields, err := object(raw, "status", moduleType, installed, context, last, lastFailed)
	if err != nil {
		return false, otherShape{err}
	}
	isOurs := false
	var first error
	for _, name := range []string{moduleType, installed, context, lastFailed, last} {
		value, ok := fields[name]
		if !ok {
			continue
		}
		switch _, err := c.property(false, []string{name}, value); {
		case err == nil:
			isOurs = true
		case first == nil:
			first = err
		}
	}
	if isOurs {
		first = nil
	}
	return isOurs, first
}

// property reads one property, or one dependency in it.
func (c *Change) property(deletes bool, steps []string, value json.RawMessage) (bool, error) {
	if deletes {
		value = nil
	}
	name := steps[0]
	isContext := strings.EqualFold(name, context)
	switch {
	case isContext || strings.EqualFold(name, installed):
		return c.dependencies(deletes, isContext, steps[1:], value)
	case len(steps) > 1:
		return false, nil
	case strings.EqualFold(name, moduleType):
		served := text(value)
		c.ModuleType = &served
		return true, nil
	case strings.EqualFold(name, last):
		operation, err := DecodeOperationStatus(value)
		c.Last = operation
		return err == nil, err
	case strings.EqualFold(name, lastFailed):
		operation, err := DecodeOperationStatus(value)
		c.LastFailed = operation
		return err == nil, err
	}
	return false, nil
}

// dependencies reads a map of dependencies, or one of its entries.
func (c *Change) dependencies(deletes, isContext bool, key []string, value json.RawMessage) (bool, error) {
	switch {
	case len(key) == 1:
		return c.edit(isContext, key[0], value), nil
	case len(key) > 1:
		return false, nil
	case c.isMerge && !deletes && !isNull(value):
		var entries map[string]json.RawMessage
		if err := json.Unmarshal(value, &entries); err != nil || len(entries) > MaxEntries {
			return false, fmt.Errorf("the dependencies are not a map with at most %d entries", MaxEntries)
		}
		for _, name := range slices.Sorted(maps.Keys(entries)) {
			c.edit(isContext, unescaper.Replace(name), entries[name])
		}
		return true, nil
	case isContext:
		list, err := dependencyMap(value, context)
		c.Context = list
		return err == nil, err
	}
	list, err := dependencyMap(value, installed)
	c.Installed = list
	return err == nil, err
}

// edit records a change of one dependency, and reports whether its key or value says which one.
func (c *Change) edit(isContext bool, key string, value json.RawMessage) bool {
	e := Edit{IsContext: isContext, Removed: isNull(value), Dependency: dependency(value)}
	if e.Dependency.Name == "" {
		e.Dependency = fromKey(key, e.Dependency.Type)
	}
	if e.Dependency.Name == "" {
		return false
	}
	c.Edits = append(c.Edits, e)
	return true
}

// short limits the length of a text of the device in an error.
func short(s string) string {
	const most = 64
	if len(s) > most {
		return strings.ToValidUTF8(s[:most], "") + "…"
	}
	return s
}

// Feature is the feature as a device reports it, for programs that act as a device.
type Feature struct {
	ModuleType       string
	Installed        []Dependency
	Context          []Dependency
	Last, LastFailed *OperationStatus
}

type feature struct {
	Definition []string   `json:"definition"`
	Properties properties `json:"properties"`
}

type properties struct {
	Status featureStatus `json:"status"`
}

type featureStatus struct {
	ModuleType string           `json:"softwareModuleType"`
	Installed  *DependencyMap   `json:"installedDependencies,omitempty"`
	Context    *DependencyMap   `json:"contextDependencies,omitempty"`
	Last       *OperationStatus `json:"lastOperation"`
	LastFailed *OperationStatus `json:"lastFailedOperation"`
}

// MarshalJSON writes the feature. Operations that are nil are null, and dependencies that are nil
// are left out.
func (f Feature) MarshalJSON() ([]byte, error) {
	written := featureStatus{ModuleType: f.ModuleType, Last: f.Last, LastFailed: f.LastFailed}
	if f.Installed != nil {
		m := DependencyMap(f.Installed)
		written.Installed = &m
	}
	if f.Context != nil {
		m := DependencyMap(f.Context)
		written.Context = &m
	}
	return marshal(feature{Definition: []string{Definition}, Properties: properties{Status: written}})
}

// ModifyFeature returns the envelope with which a device reports a whole feature.
func ModifyFeature(namespace, name, id string, f Feature) (Envelope, error) {
	return modify(namespace, name, "/features/"+escape(id), f)
}

// ModifyProperty returns the envelope with which a device reports one property of a feature, such
// as lastOperation.
func ModifyProperty(namespace, name, id, property string, value any) (Envelope, error) {
	return modify(namespace, name, "/features/"+escape(id)+"/properties/status/"+property, value)
}

func modify(namespace, name, path string, value any) (Envelope, error) {
	raw, err := marshal(value)
	return Envelope{Topic: ThingTopic{Namespace: namespace, Name: name, Channel: Twin, Criterion: Commands, Action: Modify}, Path: path, Value: raw}, err
}
