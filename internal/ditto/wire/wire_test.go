// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func TestTopicsOfDevices(t *testing.T) {
	tests := map[string]struct {
		topic string
		want  Topic
	}{
		"an event":                              {"e", Topic{Kind: EventTopic}},
		"an event in the long form":             {"event", Topic{Kind: EventTopic}},
		"telemetry":                             {"t", Topic{Kind: EventTopic}},
		"telemetry in the long form":            {"telemetry", Topic{Kind: EventTopic}},
		"an event that a gateway sends":         {"e//fleet:dev-2", Topic{Kind: EventTopic, Device: "fleet:dev-2"}},
		"an event that names the tenant":        {"event/fleet/dev-2", Topic{Kind: EventTopic, Tenant: "fleet", Device: "dev-2"}},
		"an event with only a tenant":           {"event/fleet", Topic{Kind: EventTopic, Tenant: "fleet"}},
		"an event with properties":              {"e/?content-type=application%2Fjson", Topic{Kind: EventTopic}},
		"an event of a gateway with properties": {"e//dev-2/?content-type=json", Topic{Kind: EventTopic, Device: "dev-2"}},
		"a response":                            {"command///res/7-install-1/204", Topic{Kind: ResponseTopic, RequestID: "7-install-1", Status: 204}},
		"a response in the short form":          {"c///s/R1/400", Topic{Kind: ResponseTopic, RequestID: "R1", Status: 400}},
		"a response that a gateway sends":       {"command//fleet:dev-2/res/R1/204", Topic{Kind: ResponseTopic, Device: "fleet:dev-2", RequestID: "R1", Status: 204}},
		"a response that names the tenant":      {"command/fleet/dev-2/res/R1/204", Topic{Kind: ResponseTopic, Tenant: "fleet", Device: "dev-2", RequestID: "R1", Status: 204}},
		"a response with a level for a gateway": {"command/fleet/gw/dev-2/res/R1/204", Topic{Kind: ResponseTopic, Tenant: "fleet", Device: "dev-2", RequestID: "R1", Status: 204}},
		"the question who the device is":        {"edge/thing/request", Topic{Kind: IdentityTopic}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := ParseTopic(test.topic)
			if diff := cmp.Diff(test.want, got); err != nil || diff != "" {
				t.Errorf("ParseTopic(%q) = %v (-want +got):\n%s", test.topic, err, diff)
			}
		})
	}
	for _, topic := range []string{"", "x", "e/a/b/c", "command///req/R1/install", "command///res/R1", "command///res/R1/abc", "command///res/R1/99", "command///res/R1/600",
		"c///res/R1/204", "edge/thing/response", "event/" + strings.Repeat("x", 2000), "e//" + strings.Repeat("x", 400)} {
		if got, err := ParseTopic(topic); err == nil {
			t.Errorf("ParseTopic(%.40q) = %v, want an error", topic, got)
		}
	}
}

func TestCommandsAreSentToTheTopicThatTheDeviceSubscribedTo(t *testing.T) {
	tests := []struct{ filter, device, want string }{
		{"command///req/#", "", "command///req/R1/install"},
		{"c///q/#", "", "c///q/R1/install"},
		{"command/+/+/req/#", "", "command///req/R1/install"},
		{"command///req/+/+", "", "command///req/R1/install"},
		{"command///req/+/install", "", "command///req/R1/install"},
		{"command//+/req/#", "fleet:dev-2", "command//fleet:dev-2/req/R1/install"},
		{"c//+/q/#", "fleet:dev-2", "c//fleet:dev-2/q/R1/install"},
		{"command//dev-2/req/#", "fleet:dev-2", "command//dev-2/req/R1/install"},
		{"command/fleet/dev-1/req/#", "", "command/fleet/dev-1/req/R1/install"},
		{"command/fleet/gw/+/req/#", "fleet:dev-2", "command/fleet/gw/fleet:dev-2/req/R1/install"},
		{"command/#", "", "command///req/R1/install"},
		{"command/#", "fleet:dev-2", "command//fleet:dev-2/req/R1/install"},
		{"command///#", "", "command///req/R1/install"},
		{"command/fleet/#", "", "command/fleet//req/R1/install"},
		{"command/fleet/dev-1/#", "", "command/fleet/dev-1/req/R1/install"},
		{"command/+/+/+/#", "", "command///req/R1/install"},
		{"+/+/+/req/#", "", "command///req/R1/install"},
		{"+/+/+/q/#", "", "c///q/R1/install"},
		{"+/#", "", "command///req/R1/install"},
		{"c/fleet/#", "fleet:dev-2", "c/fleet/fleet:dev-2/q/R1/install"},
		{"#", "", "command///req/R1/install"},
		{"c/#", "", "c///q/R1/install"},
	}
	for _, test := range tests {
		filter, ok := ParseFilter(test.filter)
		if got := filter.RequestTopic(test.device, "R1", "install"); !ok || got != test.want {
			t.Errorf("filter %s: topic %q, %t; want %q", test.filter, got, ok, test.want)
		}
		if filter.HasGateway {
			continue
		}
		if request, ok := ParseRequest(test.want); !ok || request.ID != "R1" || request.Subject != "install" {
			t.Errorf("ParseRequest(%q) = %v, %t", test.want, request, ok)
		}
	}
	for _, filter := range []string{"e", "edge/thing/response", "command///res/#", "command///req", "command", "c///req/#", "command///q/#", "x/#", "+", "command/+/+/+", "command/+/+/res/#", "e/#", "/#", strings.Repeat("c", 2000)} {
		if got, ok := ParseFilter(filter); ok {
			t.Errorf("ParseFilter(%.40q) = %v, want no filter of commands", filter, got)
		}
	}
}

func TestOwnerOfAFilter(t *testing.T) {
	for filter, want := range map[string][2]string{
		"#": {}, "+/#": {}, "command///req/#": {}, "command/+/+/req/#": {}, "edge/thing/response": {}, "x/fleet/dev-2": {}, "e": {}, "e//+": {}, "command/#": {}, "": {},
		"command/fleet/#": {"fleet"}, "command/fleet//req/#": {"fleet"}, "event/fleet": {"fleet"},
		"command//dev-2/req/#": {"", "dev-2"}, "c//dev-2/q/#": {"", "dev-2"}, "command/fleet/dev-2/#": {"fleet", "dev-2"}, "command/fleet/dev-2/res/#": {"fleet", "dev-2"},
		"command/fleet/gw/+/req/#": {"fleet"}, "command/fleet/gw/dev-2/req/#": {"fleet", "dev-2"}, "event/fleet/dev-2": {"fleet", "dev-2"}, "e//fleet:dev-2": {"", "fleet:dev-2"},
		"t/+/dev-2": {"", "dev-2"}, "telemetry/fleet/dev-2/#": {"fleet", "dev-2"}, "+/fleet/dev-2/req/#": {"fleet", "dev-2"},
	} {
		if tenant, device := OwnerOf(filter); tenant != want[0] || device != want[1] {
			t.Errorf("%q is in the topics of %q, %q; want %q", filter, tenant, device, want)
		}
	}
}

func TestResponseTopicIsInTheFormOfItsRequest(t *testing.T) {
	for request, want := range map[string]string{
		"command///req/R1/install":      "command///res/R1/204",
		"c///q/R1/install":              "c///s/R1/204",
		"command//dev-2/req/R1/install": "command//dev-2/res/R1/204",
		"command/t1/dev-2/req/R1/x":     "command/t1/dev-2/res/R1/204",
	} {
		r, ok := ParseRequest(request)
		if got := r.ResponseTopic(204); !ok || got != want {
			t.Errorf("the response to %s has the topic %s, want %s", request, got, want)
		}
		if parsed, err := ParseTopic(want); err != nil || parsed.Status != 204 || parsed.RequestID != "R1" {
			t.Errorf("ParseTopic(%s) = %v, %v", want, parsed, err)
		}
	}
}

// Captures of the agents of Eclipse Kanto.
const (
	activation = `{"topic":"com.acme/dev-0001/things/twin/commands/modify","headers":{"response-required":false},
 "path":"/features/SoftwareUpdatable",
 "value":{"definition":["org.eclipse.hawkbit.swupdatable:SoftwareUpdatable:2.0.0"],
  "properties":{"status":{"softwareModuleType":"software","lastOperation":null,"lastFailedOperation":null}}}}`
	progress = `{"topic":"com.acme/dev-0001/things/twin/commands/modify","headers":{"response-required":false},
 "path":"/features/SoftwareUpdatable/properties/status/lastOperation",
 "value":{"correlationID":"A1","message":"half way","progress":50,
  "softwareModule":{"name":"app","version":"1.2.0"},"status":"INSTALLING","statusCode":"42"}}`
	failure = `{"topic":"com.acme/dev-0001/things/twin/commands/modify","headers":{"response-required":false},
 "path":"/features/SoftwareUpdatable/properties/status/lastFailedOperation",
 "value":{"correlationID":"A7","message":"fail to execute install script","progress":30,
 "softwareModule":{"name":"bad","version":"1"},"status":"FINISHED_ERROR","statusCode":"7"}}`
	inventory = `{"topic":"com.acme/dev-0001/things/twin/commands/modify","headers":{"response-required":false},
 "path":"/features/SoftwareUpdatable/properties/status/installedDependencies",
 "value":{"0":{"group":"acme.fw","name":"app","version":"1.2.0","type":"software"}}}`
	response = `{"topic":"com.acme/dev-0001/things/live/messages/install",
 "headers":{"correlation-id":"ditto-c1","response-required":false},
 "path":"/features/SoftwareUpdatable/outbox/messages/install","status":204}`
	refused = `{"topic":"com.acme/dev-0001/things/live/messages/install",
 "headers":{"content-type":"application/json","correlation-id":"ditto-c6","response-required":false},
 "path":"/features/SoftwareUpdatable/outbox/messages/install",
 "value":{"error":"messages:parameter.invalid","status":400,
  "message":"json: cannot unmarshal number into Go struct field SoftwareUpdateAction.correlationId of type string"},"status":400}`
	install = `{"topic":"com.acme/dev-0001/things/live/messages/install",
 "headers":{"content-type":"application/json","correlation-id":"ditto-c1","response-required":true},
 "path":"/features/SoftwareUpdatable/inbox/messages/install",
 "value":{"correlationId":"A1","weight":500,"forced":false,"softwareModules":[
  {"softwareModule":{"name":"app","version":"1.2.0"},"artifacts":[
   {"filename":"app-1.2.0.tar.gz","size":315,
    "checksums":{"SHA256":"8bde43","SHA1":"bd3ac0","MD5":"aae4a9"},
    "download":{"HTTP":{"url":"http://127.0.0.1:18081/app-1.2.0.tar.gz"}}}]}]}}`
)

func ptr[T any](value T) *T { return &value }

func TestCapturesOfKanto(t *testing.T) {
	tests := map[string]struct {
		capture string
		want    Changes
	}{
		"the activation of a feature": {activation, Changes{Features: []Change{{ID: "SoftwareUpdatable", Replaced: true,
			Definition: ptr(Definition), ModuleType: ptr("software")}}}},
		"a status with correlationID and a statusCode that is a text": {progress, Changes{Features: []Change{{ID: "SoftwareUpdatable",
			Last: &OperationStatus{CorrelationID: "A1", Status: Installing, Module: &ModuleID{"app", "1.2.0"}, Progress: ptr[int32](50), Message: "half way", StatusCode: "42"}}}}},
		"a failure": {failure, Changes{Features: []Change{{ID: "SoftwareUpdatable",
			LastFailed: &OperationStatus{CorrelationID: "A7", Status: FinishedError, Module: &ModuleID{"bad", "1"}, Progress: ptr[int32](30), Message: "fail to execute install script", StatusCode: "7"}}}}},
		"an inventory whose keys are running numbers": {inventory, Changes{Features: []Change{{ID: "SoftwareUpdatable",
			Installed: []Dependency{{"acme.fw", "app", "1.2.0", "software"}}}}}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			e, err := DecodeEnvelope([]byte(test.capture))
			if err != nil {
				t.Fatal(err)
			}
			if e.Topic.Namespace != "com.acme" || e.Topic.Name != "dev-0001" || e.Headers.ResponseRequired {
				t.Errorf("the envelope is %+v", e)
			}
			got, err := e.Changes()
			if diff := cmp.Diff(test.want, got, cmpopts.IgnoreUnexported(Change{})); err != nil || diff != "" {
				t.Errorf("Changes: %v (-want +got):\n%s", err, diff)
			}
		})
	}
	e, err := DecodeEnvelope([]byte(response))
	if feature, subject, ok := e.MessageOf(); err != nil || !ok || feature != "SoftwareUpdatable" || subject != Install || e.Status != 204 || e.Headers.CorrelationID != "ditto-c1" {
		t.Errorf("the response is %+v, %v; feature %q, subject %q", e, err, feature, subject)
	}
	e, err = DecodeEnvelope([]byte(refused))
	if got := DecodeError(e.Value); err != nil || e.Status != 400 || got.Code != CodeWrongParameter || !strings.Contains(got.Message, "SoftwareUpdateAction.correlationId") {
		t.Errorf("the refusal is %+v, %v", got, err)
	}
}

func TestCommandIsWrittenAsKantoReadsIt(t *testing.T) {
	written, err := Command("com.acme", "dev-0001", "SoftwareUpdatable", Install, "ditto-c1", UpdateAction{
		CorrelationID: "A1", Weight: ptr[int32](500), Modules: []ModuleAction{{Module: ModuleID{"app", "1.2.0"}, Artifacts: []ArtifactAction{{
			FileName: "app-1.2.0.tar.gz", Size: 315, Checksums: map[string]string{"SHA256": "8bde43", "SHA1": "bd3ac0", "MD5": "aae4a9"},
			Download: map[string]Links{"HTTP": {URL: "http://127.0.0.1:18081/app-1.2.0.tar.gz"}}}}}}})
	if err != nil {
		t.Fatal(err)
	}
	payload, err := written.Encode()
	if err != nil {
		t.Fatal(err)
	}
	// The second spelling of the file name is ours.
	want := strings.Replace(install, `"filename":"app-1.2.0.tar.gz"`, `"filename":"app-1.2.0.tar.gz","fileName":"app-1.2.0.tar.gz"`, 1)
	if diff := cmp.Diff(value(t, want), value(t, string(payload))); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func value(t *testing.T, document string) (value any) {
	t.Helper()
	if err := json.Unmarshal([]byte(document), &value); err != nil {
		t.Fatalf("%v in %s", err, document)
	}
	return value
}

// TestEveryFieldOfTheModel writes each entity with all of its fields and reads it again.
func TestEveryFieldOfTheModel(t *testing.T) {
	update := UpdateAction{CorrelationID: "17", Weight: ptr[int32](90), Forced: true, Metadata: map[string]string{"a": "b"}, Modules: []ModuleAction{{
		Module: ModuleID{"app", "2"}, Metadata: map[string]string{"artifact-type": "plain"}, Artifacts: []ArtifactAction{{
			FileName: "f", Size: 1 << 40, Checksums: map[string]string{"SHA1": "1", "MD5": "2", "SHA256": "3"},
			Download: map[string]Links{"HTTP": {URL: "http://a/f", MD5URL: "http://a/f.MD5SUM"}, "HTTPS": {URL: "https://a/f?x=1&y=2", MD5URL: "https://a/f.MD5SUM"}}}}}}}
	raw, err := marshal(update)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := DecodeUpdateAction(raw); err != nil || !cmp.Equal(update, got) {
		t.Errorf("UpdateAction: %v\n%s", err, cmp.Diff(update, got))
	}
	wantUpdate := `{"correlationId":"17","softwareModules":[{"softwareModule":{"name":"app","version":"2"},"artifacts":[{"filename":"f","fileName":"f",` +
		`"download":{"HTTP":{"url":"http://a/f","md5url":"http://a/f.MD5SUM"},"HTTPS":{"url":"https://a/f?x=1&y=2","md5url":"https://a/f.MD5SUM"}},` +
		`"checksums":{"MD5":"2","SHA1":"1","SHA256":"3"},"size":1099511627776}],"metadata":{"artifact-type":"plain"}}],"weight":90,"metadata":{"a":"b"},"forced":true}`
	if string(raw) != wantUpdate {
		t.Errorf("UpdateAction is written\n%s, want\n%s", raw, wantUpdate)
	}

	remove := RemoveAction{CorrelationID: "18", Weight: ptr[int32](20), Forced: true, Metadata: map[string]string{"c": "d"}, Software: []Dependency{{"g", "n", "v", "t"}, {"g", "m", "w", ""}}}
	if raw, err = marshal(remove); err != nil {
		t.Fatal(err)
	}
	if got, err := DecodeRemoveAction(raw); err != nil || !cmp.Equal(remove, got) {
		t.Errorf("RemoveAction: %v\n%s", err, cmp.Diff(remove, got))
	}
	wantRemove := `{"correlationId":"18","software":[{"group":"g","name":"n","version":"v","type":"t"},{"group":"g","name":"m","version":"w"}],` +
		`"removeList":[{"group":"g","name":"n","version":"v","type":"t"},{"group":"g","name":"m","version":"w"}],"weight":20,"metadata":{"c":"d"},"forced":true}`
	if string(raw) != wantRemove {
		t.Errorf("RemoveAction is written\n%s, want\n%s", raw, wantRemove)
	}

	feature := Feature{ModuleType: "app", Installed: []Dependency{{"docker.io/library", "hello-world", "latest", "image"}}, Context: []Dependency{{"system.cpu", "architecture", "arm64", "hw-part"}},
		Last:       &OperationStatus{CorrelationID: "18", Status: Removing, Software: []Dependency{{"g", "n", "v", "t"}}, Progress: ptr[int32](3), Message: "m", StatusCode: "9"},
		LastFailed: &OperationStatus{CorrelationID: "17", Status: FinishedError, Module: &ModuleID{"app", "2"}}}
	e, err := ModifyFeature("fleet", "dev-1", "a/b", feature)
	if err != nil {
		t.Fatal(err)
	}
	payload, err := e.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(payload), `"docker.io%2Flibrary.hello-world:latest":{`) {
		t.Errorf("the key of a dependency is not group.name:version with %%2F for a slash: %s", payload)
	}
	if e, err = DecodeEnvelope(payload); err != nil {
		t.Fatal(err)
	}
	got, err := e.Changes()
	want := Changes{Features: []Change{{ID: "a/b", Replaced: true, Definition: ptr(Definition), ModuleType: ptr("app"), Installed: feature.Installed, Context: feature.Context,
		Last: feature.Last, LastFailed: feature.LastFailed}}}
	if diff := cmp.Diff(want, got, cmpopts.IgnoreUnexported(Change{})); err != nil || diff != "" {
		t.Errorf("Feature: %v (-want +got):\n%s", err, diff)
	}
}

func TestDevicesThatSpellItAnotherWay(t *testing.T) {
	full := &OperationStatus{CorrelationID: "17", Status: FinishedSuccess, StatusCode: "42", Progress: ptr[int32](50), Software: []Dependency{{"g", "n", "1", ""}}}
	for name, written := range map[string]string{
		"as in the model":                  `{"correlationId":"17","status":"FINISHED_SUCCESS","statusCode":"42","progress":50,"software":[{"group":"g","name":"n","version":"1"}]}`,
		"correlationID and Software":       `{"correlationID":"17","status":"FINISHED_SUCCESS","statusCode":"42","progress":50,"Software":[{"group":"g","name":"n","version":"1"}]}`,
		"numbers for texts":                `{"correlationId":17,"status":"FINISHED_SUCCESS","statusCode":42,"progress":50,"software":[{"group":"g","name":"n","version":1}]}`,
		"texts for numbers":                `{"correlationId":"17","status":"FINISHED_SUCCESS","statusCode":"42","progress":"50","software":[{"group":"g","name":"n","version":"1"}]}`,
		"a fraction of a percent":          `{"correlationId":"17","status":"FINISHED_SUCCESS","statusCode":"42","progress":50.7,"software":[{"group":"g","name":"n","version":"1"}]}`,
		"a status in lower case":           `{"correlationId":"17","status":"finished_success ","statusCode":"42","progress":50,"software":[{"group":"g","name":"n","version":"1"}]}`,
		"one piece of software, no list":   `{"correlationId":"17","status":"FINISHED_SUCCESS","statusCode":"42","progress":50,"software":{"group":"g","name":"n","version":"1"}}`,
		"software as a map":                `{"correlationId":"17","status":"FINISHED_SUCCESS","statusCode":"42","progress":50,"software":{"g.n:1":{"group":"g","name":"n","version":"1"}}}`,
		"a field with a wrong type":        `{"correlationId":"17","status":"FINISHED_SUCCESS","statusCode":"42","progress":50,"message":{"a":[]},"softwareModule":"x","software":[{"group":"g","name":"n","version":"1"}]}`,
		"fields that do not exist":         `{"correlationId":"17","status":"FINISHED_SUCCESS","statusCode":"42","progress":50,"timestamp":1,"software":[{"group":"g","name":"n","version":"1","path":"/x"}]}`,
		"a name both right and misspelled": `{"CORRELATIONID":"18","correlationId":"17","status":"FINISHED_SUCCESS","statusCode":"42","progress":50,"software":[{"group":"g","name":"n","version":"1"}]}`,
	} {
		t.Run(name, func(t *testing.T) {
			got, err := DecodeOperationStatus(json.RawMessage(written))
			if diff := cmp.Diff(full, got); err != nil || diff != "" {
				t.Errorf("%v (-want +got):\n%s", err, diff)
			}
		})
	}
	for name, written := range map[string]string{"no correlationId": `{"status":"STARTED"}`, "no status": `{"correlationId":"1"}`, "not an object": `"STARTED"`, "a list": `[]`} {
		if got, err := DecodeOperationStatus(json.RawMessage(written)); err == nil {
			t.Errorf("%s: got %v, want an error", name, got)
		}
	}
	stray, err := DecodeOperationStatus(json.RawMessage(`{"correlationID":"17","status":"DOWNLOADED_FILE_STORED","softwareModule":{"name":"app","version":"1","path":"/tmp"}}`))
	if err != nil || stray.Status != "DOWNLOADED_FILE_STORED" || *stray.Module != (ModuleID{"app", "1"}) {
		t.Errorf("an unknown status is %+v, %v", stray, err)
	}
	for _, null := range []string{"null", " null ", ""} {
		if got, err := DecodeOperationStatus(json.RawMessage(null)); got != nil || err != nil {
			t.Errorf("DecodeOperationStatus(%q) = %v, %v; want nothing", null, got, err)
		}
	}
	var artifact ArtifactAction
	if err := json.Unmarshal([]byte(`{"fileName":"f","size":1}`), &artifact); err != nil || artifact.FileName != "f" {
		t.Errorf("fileName: %+v, %v", artifact, err)
	}
	var module ModuleAction
	if err := json.Unmarshal([]byte(`{"softwareModule":{"name":"a","version":"1"},"metaData":{"k":"v"}}`), &module); err != nil || module.Metadata["k"] != "v" {
		t.Errorf("metaData: %+v, %v", module, err)
	}
	remove, err := DecodeRemoveAction([]byte(`{"correlationId":"1","removeList":[{"group":"g","name":"n","version":"1"}]}`))
	if err != nil || len(remove.Software) != 1 {
		t.Errorf("removeList: %+v, %v", remove, err)
	}
}

// TestPathsOfTheThing sends the same facts at each path of the thing.
func TestPathsOfTheThing(t *testing.T) {
	const definition = `"definition":["x:Other:1","org.eclipse.hawkbit.swupdatable:SoftwareUpdatable:2.0.0"]`
	const status = `{"softwareModuleType":"os","installedDependencies":{"a":{"group":"g","name":"n","version":"1"}},"lastOperation":{"correlationId":"1","status":"STARTED"}}`
	const feature = `{` + definition + `,"properties":{"status":` + status + `}}`
	dependency := []Dependency{{"g", "n", "1", ""}}
	started := &OperationStatus{CorrelationID: "1", Status: Started}
	whole := Change{ID: "F", Replaced: true, Definition: ptr(Definition), ModuleType: ptr("os"), Installed: dependency, Last: started}
	part := Change{ID: "F", ModuleType: ptr("os"), Installed: dependency, Last: started}
	one := func(c Change) Changes { return Changes{Features: []Change{c}} }
	tests := map[string]struct {
		action, path, value string
		want                Changes
	}{
		"modify a thing":                        {Modify, "/", `{"thingId":"a:b","attributes":{},"features":{"Other":{"properties":{"status":{"level":3}}},"F":` + feature + `}}`, Changes{ReplacesAll: true, Features: []Change{whole}}},
		"features of other kinds":               {Modify, "/features", `{"A":{"properties":{"status":"ok"}},"B":{"properties":[1]},"C":5,"F":` + feature + `,"` + strings.Repeat("x", 300) + `":{}}`, Changes{ReplacesAll: true, Features: []Change{whole}}},
		"a feature whose status is a text":      {Modify, "/features/Battery", `{"properties":{"status":"ok"}}`, Changes{}},
		"a feature whose properties are a list": {Modify, "/features/Battery", `{"definition":null,"properties":[]}`, Changes{}},
		"create a thing":                        {Create, "/", `{"features":{"F":` + feature + `}}`, Changes{ReplacesAll: true, Features: []Change{whole}}},
		"modify a thing to no features":         {Modify, "/", `{}`, Changes{ReplacesAll: true}},
		"merge a thing without features":        {Merge, "/", `{"attributes":{"a":1}}`, Changes{}},
		"modify all features":                   {Modify, "/features", `{"F":` + feature + `}`, Changes{ReplacesAll: true, Features: []Change{whole}}},
		"an event for a feature":                {"modified", "/features/F", feature, one(whole)},
		"delete a thing":                        {Delete, "/", ``, Changes{ReplacesAll: true}},
		"delete all features":                   {Delete, "/features", ``, Changes{ReplacesAll: true}},
		"merge all features to none":            {Merge, "/features", `null`, Changes{ReplacesAll: true}},
		"delete a feature":                      {Delete, "/features/F", ``, one(Change{ID: "F", Removed: true})},
		"merge a feature to none":               {Merge, "/features", `{"F":null}`, one(Change{ID: "F", Removed: true})},
		"modify the properties":                 {Modify, "/features/F/properties", `{"status":` + status + `}`, one(part)},
		"modify the status":                     {Modify, "/features/F/properties/status", status, one(part)},
		"modify the module type":                {Modify, "/features/F/properties/status/softwareModuleType", `"os"`, one(Change{ID: "F", ModuleType: ptr("os")})},
		"modify the definition":                 {Modify, "/features/F/definition", `["org.eclipse.hawkbit.swupdatable:SoftwareUpdatable:1.0.0"]`, one(Change{ID: "F", Definition: ptr("org.eclipse.hawkbit.swupdatable:SoftwareUpdatable:1.0.0")})},
		"modify lastOperation":                  {Modify, "/features/F/properties/status/lastOperation", `{"correlationId":"1","status":"STARTED"}`, one(Change{ID: "F", Last: started})},
		"set lastOperation to null":             {Modify, "/features/F/properties/status/lastOperation", `null`, one(Change{ID: "F"})},
		"delete lastOperation":                  {Delete, "/features/F/properties/status/lastOperation", ``, one(Change{ID: "F"})},
		"modify lastFailedOperation":            {Modify, "/features/F/properties/status/lastFailedOperation", `{"correlationId":"1","status":"STARTED"}`, one(Change{ID: "F", LastFailed: started})},
		"modify contextDependencies":            {Modify, "/features/F/properties/status/contextDependencies", `{"a":{"group":"g","name":"n","version":"1"}}`, one(Change{ID: "F", Context: dependency})},
		"dependencies as a list":                {Modify, "/features/F/properties/status/contextDependencies", `[{"group":"g","name":"n","version":"1"}]`, one(Change{ID: "F", Context: dependency})},
		"delete installedDependencies":          {Delete, "/features/F/properties/status/installedDependencies", ``, one(Change{ID: "F", Installed: []Dependency{}})},
		"no installedDependencies":              {Modify, "/features/F/properties/status/installedDependencies", `{}`, one(Change{ID: "F", Installed: []Dependency{}})},
		"merge single dependencies": {Merge, "/features/F/properties/status", `{"installedDependencies":{"g.n:1":{"group":"g","name":"n","version":"1"},"docker.io%2Flib.x:2":null}}`,
			one(Change{ID: "F", Edits: []Edit{{Removed: true, Dependency: Dependency{"docker.io/lib", "x", "2", ""}}, {Dependency: Dependency{"g", "n", "1", ""}}}})},
		"modify a single dependency": {Modify, "/features/F/properties/status/installedDependencies/docker.io%2Flib.x:2", `{"group":"docker.io/lib","name":"x","version":"2"}`,
			one(Change{ID: "F", Edits: []Edit{{Dependency: Dependency{"docker.io/lib", "x", "2", ""}}}})},
		"delete a single dependency": {Delete, "/features/F/properties/status/contextDependencies/g.n:1", ``,
			one(Change{ID: "F", Edits: []Edit{{IsContext: true, Removed: true, Dependency: Dependency{"g", "n", "1", ""}}}})},
		"a dependency that only has a key": {Modify, "/features/F/properties/status/installedDependencies", `{"docker.io%2Flib.x:2":{"type":"image"}}`,
			one(Change{ID: "F", Installed: []Dependency{{"docker.io/lib", "x", "2", "image"}}})},
		"a feature id with a slash":     {Modify, "/features/a%2Fb/properties/status/softwareModuleType", `"os"`, one(Change{ID: "a/b", ModuleType: ptr("os")})},
		"an attribute of the thing":     {Modify, "/attributes/location", `"x"`, Changes{}},
		"another feature":               {Modify, "/features/Battery/properties/status/level", `3`, Changes{}},
		"another whole feature":         {Modify, "/features/Battery", `{"definition":["x:Battery:1.0.0"],"properties":{"status":{"softwareModuleType":"os"}}}`, Changes{}},
		"a feature without status":      {Modify, "/features/F/properties", `{"configuration":{}}`, Changes{}},
		"desired properties":            {Modify, "/features/F/desiredProperties/status/softwareModuleType", `"os"`, Changes{}},
		"one field of lastOperation":    {Modify, "/features/F/properties/status/lastOperation/progress", `3`, Changes{}},
		"one wrong property beside one": {Modify, "/features/F/properties/status", `{"softwareModuleType":"os","lastOperation":{"status":"STARTED"}}`, one(Change{ID: "F", ModuleType: ptr("os")})},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			message := fmt.Sprintf(`{"topic":"a/b/things/twin/commands/%s","headers":{},"path":%q}`, test.action, test.path)
			if strings.HasSuffix(test.action, "ed") {
				message = strings.Replace(message, "/commands/", "/events/", 1)
			}
			if test.value != "" {
				message = strings.TrimSuffix(message, "}") + `,"value":` + test.value + `}`
			}
			e, err := DecodeEnvelope([]byte(message))
			if err != nil {
				t.Fatal(err)
			}
			got, err := e.Changes()
			if diff := cmp.Diff(test.want, got, cmpopts.IgnoreUnexported(Change{})); err != nil || diff != "" {
				t.Errorf("%v (-want +got):\n%s", err, diff)
			}
		})
	}
}

// TestMessagesThatAreRefused wants a sentence for each.
func TestMessagesThatAreRefused(t *testing.T) {
	topic := `"topic":"a/b/things/twin/commands/modify"`
	manyEntries := strings.Repeat(`{"name":"n"},`, MaxEntries) + `{"name":"n"}`
	features := ""
	for i := range MaxFeatures + 1 {
		features += fmt.Sprintf(`"f%d":{"properties":{"status":{"softwareModuleType":"t%d"}}},`, i, i)
	}
	tests := map[string]struct{ message, want string }{
		"not JSON":                      {`{`, "not JSON"},
		"empty":                         {``, "not JSON"},
		"a list":                        {`[]`, "not an object"},
		"no topic":                      {`{"path":"/"}`, "topic of the envelope"},
		"another group":                 {`{"topic":"a/b/policies/commands/modify","path":"/"}`, "topic of the envelope"},
		"headers that are a text":       {`{` + topic + `,"headers":"x","path":"/"}`, "headers is not an object"},
		"a long correlation id":         {`{` + topic + `,"headers":{"correlation-id":"` + strings.Repeat("x", 300) + `"},"path":"/"}`, "correlation-id has more"},
		"too large":                     {`{` + topic + `,"path":"/","value":"` + strings.Repeat("x", MaxMessage) + `"}`, "send at most"},
		"too deep":                      {`{` + topic + `,"path":"/","value":` + strings.Repeat("[", 40) + strings.Repeat("]", 40) + `}`, "nested deeper"},
		"a search":                      {`{"topic":"a/b/things/twin/search/subscribe","path":"/"}`, "not supported"},
		"a query":                       {`{"topic":"a/b/things/twin/commands/retrieve","path":"/"}`, "not supported"},
		"a live command":                {`{"topic":"a/b/things/live/commands/modify","path":"/"}`, "not supported"},
		"features that are a list":      {`{` + topic + `,"path":"/features","value":[]}`, "not an object"},
		"a feature that is a text":      {`{` + topic + `,"path":"/features/F","value":"x"}`, "not an object"},
		"a path with an empty step":     {`{` + topic + `,"path":"/features//properties","value":{}}`, "empty step"},
		"a long path":                   {`{` + topic + `,"path":"/` + strings.Repeat("x", 2000) + `","value":{}}`, "path of the envelope"},
		"a long id of a feature":        {`{` + topic + `,"path":"/features/` + strings.Repeat("x", 300) + `","value":{}}`, "id of the feature"},
		"too many features":             {`{` + topic + `,"path":"/features","value":{` + strings.TrimSuffix(features, ",") + `}}`, "17 features"},
		"too many dependencies":         {`{` + topic + `,"path":"/features/F/properties/status/installedDependencies","value":[` + manyEntries + `]}`, "4097 entries"},
		"a status without its action":   {`{` + topic + `,"path":"/features/F/properties/status/lastOperation","value":{"status":"STARTED"}}`, "no correlationId"},
		"an action without status":      {`{` + topic + `,"path":"/features/F/properties/status/lastOperation","value":{"correlationId":"1"}}`, "no status"},
		"dependencies that are a text":  {`{` + topic + `,"path":"/features/F/properties/status/installedDependencies","value":"x"}`, "not a map"},
		"merged dependencies as a text": {`{"topic":"a/b/things/twin/commands/merge","path":"/features/F/properties/status/installedDependencies","value":"x"}`, "not a map"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			e, err := DecodeEnvelope([]byte(test.message))
			if err == nil {
				_, err = e.Changes()
			}
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want an error with %q", err, test.want)
			}
		})
	}
}

func TestRepliesToDevices(t *testing.T) {
	e, err := DecodeEnvelope([]byte(`{"topic":"a/b/things/twin/commands/modify","headers":{"correlation-id":"c1","response-required":"true"},"path":"/features/F","value":{}}`))
	if err != nil || !e.Headers.ResponseRequired {
		t.Fatalf("%+v, %v", e, err)
	}
	reply, err := e.Reply(204, nil)
	payload, _ := reply.Encode()
	if want := `{"topic":"a/b/things/twin/commands/modify","headers":{"correlation-id":"c1","response-required":false},"path":"/features/F","status":204}`; err != nil || string(payload) != want {
		t.Errorf("the reply is %s, %v; want %s", payload, err, want)
	}
	if id, subject := e.ReplyRequest(); id != "" || subject != "modify-response" {
		t.Errorf("the reply is sent as %q, %q", id, subject)
	}
	refusal, err := e.Refuse(Error{Status: 400, Code: CodeWrongParameter, Message: "no"})
	payload, _ = refusal.Encode()
	if want := `{"topic":"a/b/things/twin/errors","headers":{"content-type":"application/json","correlation-id":"c1","response-required":false},"path":"/","value":{"status":400,"error":"messages:parameter.invalid","message":"no"},"status":400}`; err != nil || string(payload) != want {
		t.Errorf("the refusal is %s, %v; want %s", payload, err, want)
	}
	command, err := Command("a", "b", "F", Install, "c2", UpdateAction{CorrelationID: "1"})
	if err != nil {
		t.Fatal(err)
	}
	if refusal, err = command.Refuse(Error{Status: 404, Code: CodeSubjectNotFound}); err != nil || refusal.Topic != command.Topic || refusal.Path != "/features/F/outbox/messages/install" || refusal.Status != 404 {
		t.Errorf("the refusal of a command is %+v, %v", refusal, err)
	}
}

func TestRedelivery(t *testing.T) {
	for value, want := range map[string]Redelivery{
		``:                              {FinishCancelActions: true},
		`null`:                          {FinishCancelActions: true},
		`"flash lost"`:                  {Message: "flash lost", FinishCancelActions: true},
		`{"message":"flash lost"}`:      {Message: "flash lost", FinishCancelActions: true},
		`{"finishCancelActions":false}`: {},
		`{"finishCancelActions":"false","reuseCorrelationId":false}`: {},
	} {
		if got := DecodeRedelivery(json.RawMessage(value)); got != want {
			t.Errorf("DecodeRedelivery(%s) = %+v, want %+v", value, got, want)
		}
	}
}

func FuzzTopic(f *testing.F) {
	for _, topic := range []string{"e", "e//d", "command///res/1/204", "c/t/d/s/1/204", "edge/thing/request", "command///req/1/install"} {
		f.Add(topic)
	}
	f.Fuzz(func(t *testing.T, topic string) {
		if parsed, err := ParseTopic(topic); err == nil && parsed.Kind == ResponseTopic && (parsed.Status < 100 || parsed.Status > 599) {
			t.Errorf("ParseTopic(%q) = %+v", topic, parsed)
		}
		filter, ok := ParseFilter(topic)
		if !ok || filter.HasGateway || strings.ContainsAny(filter.Tenant+filter.Device, "#+") {
			return
		}
		if request, ok := ParseRequest(filter.RequestTopic("", "R", "install")); !ok || request.ID != "R" || request.Subject != "install" {
			t.Errorf("a command for the filter %q is %+v, %t", topic, request, ok)
		}
	})
}

// FuzzEnvelope requires that what was read is within its limits, and is read in the same way again.
func FuzzEnvelope(f *testing.F) {
	for _, capture := range []string{activation, progress, failure, inventory, response, refused, install} {
		f.Add([]byte(capture))
	}
	f.Add([]byte(`{"topic":"a/b/things/twin/commands/merge","path":"/","value":{"features":{"F":{"properties":{"status":{"installedDependencies":{"a":null,"b.c:1":{}}}}}}}}`))
	f.Fuzz(func(t *testing.T, message []byte) {
		e, err := DecodeEnvelope(message)
		if err != nil {
			return
		}
		if encoded, err := e.Encode(); err != nil || !json.Valid(encoded) {
			t.Fatalf("an envelope that was read cannot be written: %v", err)
		}
		e.MessageOf()
		DecodeError(e.Value)
		DecodeRedelivery(e.Value)
		changes, err := e.Changes()
		if err != nil {
			return
		}
		again, _ := e.Changes()
		if diff := cmp.Diff(changes, again, cmpopts.IgnoreUnexported(Change{})); diff != "" {
			t.Errorf("the same envelope was read in two ways:\n%s", diff)
		}
		if len(changes.Features) > MaxFeatures {
			t.Errorf("%d features", len(changes.Features))
		}
		for _, c := range changes.Features {
			if len(c.ID) > maxFeatureID || len(c.Installed) > MaxEntries || len(c.Context) > MaxEntries || len(c.Edits) > 2*MaxEntries {
				t.Errorf("the feature %.40q has %d, %d and %d entries", c.ID, len(c.Installed), len(c.Context), len(c.Edits))
			}
		}
	})
}

// FuzzOperationStatus wants a correlationId and a status of all that is read.
func FuzzOperationStatus(f *testing.F) {
	f.Add([]byte(`{"correlationID":"A1","progress":"50","softwareModule":{"name":"app","version":1},"status":"INSTALLING","statusCode":42}`))
	f.Add([]byte(`{"correlationId":1e400,"status":"REMOVED","software":{"a":{"name":"n"}}}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		if check(raw) != nil {
			return
		}
		o, err := DecodeOperationStatus(raw)
		if o != nil && (err != nil || o.CorrelationID == "" || o.Status == "") {
			t.Errorf("read %+v, %v", o, err)
		}
		if o == nil {
			return
		}
		written, err := marshal(o)
		if err != nil {
			t.Fatal(err)
		}
		if again, err := DecodeOperationStatus(written); err != nil || again.CorrelationID != o.CorrelationID || again.Status != o.Status {
			t.Errorf("written and read: %+v, %v; before %+v", again, err, o)
		}
	})
}
