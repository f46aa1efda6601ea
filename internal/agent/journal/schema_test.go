// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package journal

import (
	"encoding/json"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/goshawk-dev/goshawk/internal/agent/update"
)

const schemaFile = "../../../docs/agent-state.schema.json"

func stateSchema(t *testing.T) *jsonschema.Schema {
	t.Helper()
	compiler := jsonschema.NewCompiler()
	compiler.AssertFormat()
	schema, err := compiler.Compile(schemaFile)
	if err != nil {
		t.Fatal(err)
	}
	return schema
}

var (
	noon   = time.Date(2026, 11, 26, 12, 0, 0, 123456789, time.UTC)
	phases = []update.Phase{
		update.Downloading, update.Downloaded, update.Installing, update.Rebooting, update.Verifying, update.Committing, update.RollingBack,
	}
	stages = []update.Stage{
		update.Pending, update.Checked, update.Ready, update.Changing, update.Changed, update.Verified, update.Committed, update.RolledBack, update.Broken,
	}
	web = update.Module{Type: "app", Name: "web", Version: "2", Artifacts: []update.Artifact{{Filename: "web.tar", Size: 9, SHA256: "0a"}}, Metadata: map[string]string{"a": "b"}}
)

// documentsOfEveryKind has a document in each phase, and with each stage, source, outcome and
// answer.
func documentsOfEveryKind() map[string]*update.Document {
	all := map[string]*update.Document{"a new device": {Format: update.FormatVersion}}
	var changes []update.Change
	for i, stage := range stages {
		changes = append(changes, update.Change{Module: web, Stage: stage, Removes: i%2 == 1})
	}
	failure := &update.Failure{Code: "E17", Message: "the disk is full"}
	for _, source := range []update.Source{update.FromServer, update.FromDevice} {
		for _, phase := range phases {
			all["phase "+string(phase)+" of the "+string(source)] = &update.Document{
				Installed: []update.Module{web}, Update: &update.Update{ID: "7", Source: source, Started: noon, Phase: phase, Changes: changes, Failure: failure},
			}
		}
		for _, outcome := range []update.Outcome{update.Succeeded, update.Failed, update.Canceled} {
			all["an update of the "+string(source)+" that has "+string(outcome)] = &update.Document{
				Ended: &update.Result{ID: "7", Source: source, Ended: noon, Outcome: outcome, Failure: failure, Changes: changes},
			}
		}
	}
	all["an inconsistent device"] = &update.Document{Inconsistency: &update.Inconsistency{Update: "7", Since: noon, Reason: "web has no rollback", Modules: []update.Module{web}}}
	for _, answer := range []update.Answer{"", update.Confirmed, update.Denied} {
		all["a question with the answer "+string(answer)] = &update.Document{Question: &update.Question{ID: "8", Modules: []update.Module{web}, Answer: answer, Remark: "go"}}
	}
	return all
}

func TestEveryStateFollowsTheSchema(t *testing.T) {
	schema := stateSchema(t)
	for name, d := range documentsOfEveryKind() {
		t.Run(name, func(t *testing.T) {
			state := StateOf(d)
			if strings.HasPrefix(name, "an update of the Server") {
				state.Server = &Connection{Address: "https://devices.example.com/fleet/controller/v1/gw-1", Since: noon, LastContact: &noon, Error: "401"}
			} else if state.Update != nil {
				state.Server = &Connection{Address: "https://devices.example.com/fleet/controller/v1/gw-1", Connected: true, Since: noon}
			}
			text, err := json.Marshal(state)
			if err != nil {
				t.Fatal(err)
			}
			value, err := jsonschema.UnmarshalJSON(strings.NewReader(string(text)))
			if err != nil {
				t.Fatal(err)
			}
			if err := schema.Validate(value); err != nil {
				t.Errorf("%v\n%s", err, text)
			}
		})
	}
}

func TestSchemaRefusesOtherContent(t *testing.T) {
	schema := stateSchema(t)
	for name, text := range map[string]string{
		"an unknown field":                  `{"consistent": true, "phase": "Idle", "installed": [], "more": 1}`,
		"an unknown phase":                  `{"consistent": true, "phase": "Sleeping", "installed": []}`,
		"no phase":                          `{"consistent": true, "installed": []}`,
		"an inconsistency without a reason": `{"consistent": false, "phase": "Inconsistent", "installed": []}`,
		"a reason without an inconsistency": `{"consistent": true, "phase": "Idle", "installed": [], "inconsistency": {"update": "1", "since": "2026-11-26T12:00:00Z", "reason": "x", "software": []}}`,
		"a time in another form":            `{"consistent": true, "phase": "Idle", "installed": [], "last": {"id": "1", "source": "Server", "ended": "today", "outcome": "Failed", "changes": []}}`,
	} {
		t.Run(name, func(t *testing.T) {
			value, err := jsonschema.UnmarshalJSON(strings.NewReader(text))
			if err != nil {
				t.Fatal(err)
			}
			if schema.Validate(value) == nil {
				t.Errorf("the schema accepts %s", text)
			}
		})
	}
}

// TestSchemaHasTheFieldsOfState compares the fields, and which of them are always present. Each
// field has a description.
func TestSchemaHasTheFieldsOfState(t *testing.T) {
	text, err := os.ReadFile(schemaFile)
	if err != nil {
		t.Fatal(err)
	}
	var top node
	if err := json.Unmarshal(text, &top); err != nil {
		t.Fatal(err)
	}
	top.compare(t, "state.json", reflect.TypeFor[State](), &top)
}

// node is a part of a JSON schema.
type node struct {
	Description string
	Ref         string `json:"$ref"`
	Properties  map[string]*node
	Required    []string
	Items       *node
	Defs        map[string]*node `json:"$defs"`
}

func (n *node) compare(t *testing.T, at string, of reflect.Type, top *node) {
	t.Helper()
	for of.Kind() == reflect.Pointer {
		of = of.Elem()
	}
	if name, ok := strings.CutPrefix(n.Ref, "#/$defs/"); ok {
		if n = top.Defs[name]; n == nil {
			t.Errorf("%s: $defs has no %s", at, name)
			return
		}
	}
	if n.Description == "" {
		t.Errorf("%s has no description", at)
	}
	switch {
	case of.Kind() == reflect.Slice:
		n.Items.compare(t, at+"[]", of.Elem(), top)
	case of.Kind() == reflect.Struct && of != reflect.TypeFor[time.Time]():
		fields, required := map[string]reflect.Type{}, []string{}
		for _, f := range reflect.VisibleFields(of) {
			name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
			if f.Anonymous {
				continue
			}
			if fields[name] = f.Type; !strings.Contains(options, "omitempty") {
				required = append(required, name)
			}
		}
		slices.Sort(required)
		slices.Sort(n.Required)
		if !slices.Equal(required, n.Required) {
			t.Errorf("%s: required are %q, want %q", at, n.Required, required)
		}
		for name := range n.Properties {
			if fields[name] == nil {
				t.Errorf("%s: there is no field %s", at, name)
			}
		}
		for name, kind := range fields {
			if n.Properties[name] == nil {
				t.Errorf("%s: the schema has no field %s", at, name)
				continue
			}
			n.Properties[name].compare(t, at+"."+name, kind, top)
		}
	}
}
