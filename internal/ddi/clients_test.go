// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package ddi_test

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/goshawk-dev/goshawk/internal/ddi"
	"github.com/goshawk-dev/goshawk/internal/ddi/wire"
	"github.com/goshawk-dev/goshawk/internal/deviceapi"
	"github.com/goshawk-dev/goshawk/internal/deviceapi/deviceapitest"
	"github.com/goshawk-dev/goshawk/internal/testing/artifactstore"
)

// clientStep is one request of a client and the expected response.
type clientStep struct {
	// request is a method and a path below the root of the device. "{deploymentBase}" and
	// "{download}" stand for the links in the last documents. "cancel" means that a user cancels
	// the update, and "reboot" that the client opens a new connection.
	request string
	// body is empty for GET.
	body   string
	status int
	// has are texts of the body, and hasNot texts that it does not contain.
	has, hasNot []string
}

// client is how a program writes its requests.
type client struct {
	tenant, id string
	// headers are all headers of a request with this method and path, without those about the body.
	headers func(method, path string) []string
	// connects means that the client opens a connection for each request.
	connects bool
	// fileLinks is a text that the links of files must contain.
	fileLinks string
}

const jsonBody = "Content-Type: application/json;charset=UTF-8"

// zephyr is Zephyr's client. It sends no Accept, uses one connection, takes the path from links,
// and cannot read a response without Content-Length.
func zephyr(fileLinks string) client {
	return client{"default", "frdm_k64f-0042", func(string, string) []string {
		return []string{"Host: devices.example:8080", "Authorization: TargetToken " + token}
	}, false, fileLinks}
}

// rauc is rauc-hawkbit-updater. It accepts no status but 200 for documents and reports.
func rauc(more ...string) client {
	return client{"default", "dev1", func(_, path string) []string {
		accept := "Accept: application/json;charset=UTF-8"
		if strings.Contains(path, "/artifacts/") {
			accept = "Accept: application/octet-stream"
		}
		return append([]string{"Host: devices.example:8080", "User-Agent: rauc-hawkbit-c-agent/1.0", accept, "Authorization: TargetToken " + token}, more...)
	}, true, ""}
}

// clientWorld is a device API with an update of one file, which it sends itself.
type clientWorld struct {
	address string
	backend *deviceapitest.Backend
	device  deviceapi.Device
	content []byte
}

func newClientWorld(t *testing.T, c client, downloadOnly bool) clientWorld {
	t.Helper()
	w := clientWorld{content: bytes.Repeat([]byte("0123456789"), 10_000), device: deviceapi.Device{Namespace: "acme", ControllerID: c.id}}
	source := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		http.ServeContent(rw, r, "", time.Time{}, bytes.NewReader(w.content))
	}))
	t.Cleanup(source.Close)
	sum := sha256.Sum256(w.content)
	module := deviceapi.Module{ID: "9", Type: "application", Name: "app", Version: "1.2", Artifacts: []deviceapi.Artifact{{
		FileName: "app.signed.bin", Size: int64(len(w.content)), SHA1: "a1", MD5: "b2", SHA256: hex.EncodeToString(sum[:]), Proxied: true,
		Downloads: []deviceapi.Download{{Protocol: deviceapi.HTTP, URL: source.URL}},
	}}}
	w.backend = &deviceapitest.Backend{
		Tokens: map[deviceapi.Device]string{w.device: token},
		Update: &deviceapitest.Update{Set: deviceapitest.Set{Name: "firmware", Version: "1.2", Modules: []deviceapi.Module{module}}, DownloadOnly: downloadOnly},
	}
	server := httptest.NewServer(deviceAPI(t, w.backend, func(o *ddi.Options) {
		o.DefaultNamespace = "acme"
		o.Artifacts = ddi.Artifacts{Store: artifactstore.New(t), Keys: &linkKeys{present: newKeys(t, "a")}, Lifetime: time.Hour}
	}))
	t.Cleanup(server.Close)
	w.address = server.Listener.Addr().String()
	return w
}

const (
	zephyrClosed   = `{"status":{"execution":"closed","result":{"finished":"success"}}}`
	zephyrRejected = `{"status":{"execution":"closed","result":{"finished":"failure"}}}`
	raucAttributes = `{"time":"20261102T060100","status":{"result":{"finished":"success"},"execution":"closed"},"data":{"product":"demo-board"}}`
)

// raucReport is a report of rauc-hawkbit-updater, whose id is a string.
func raucReport(finished, execution, detail string) string {
	return fmt.Sprintf(`{"id":"100","time":"20261102T060100","status":{"result":{"finished":%q},"execution":%q,"details":[%q]}}`, finished, execution, detail)
}

func raucProceeds(detail string) clientStep {
	return clientStep{"POST /deploymentBase/100/feedback", raucReport("none", "proceeding", detail), 200, nil, nil}
}

// TestRequestsOfRealClients plays the requests of Zephyr's client and of rauc-hawkbit-updater, with
// their headers, over a connection.
func TestRequestsOfRealClients(t *testing.T) {
	const application = `"part":"bApp"`
	const closed36 = `{"id":"100","status":{"execution":"closed","result":{"finished":"success"}}}`
	idle := []string{"deploymentBase", "cancelAction", "confirmationBase"}
	reboot, cancel := clientStep{request: "reboot"}, clientStep{request: "cancel"}
	raucStart := []clientStep{
		{"GET ", "", 200, []string{`"sleep":"00:05:00"`, "configData", "deploymentBase"}, nil},
		{"PUT /configData", raucAttributes, 200, nil, nil},
		{"GET {deploymentBase}", "", 200, []string{`"id":"100"`, `"sha1":"a1"`, `"size":100000`, `"name":"app"`, `"version":"1.2"`}, nil},
	}
	raucInstalls := append(raucStart[:3:3], clientStep{"GET {download}", "", 200, nil, nil}, raucProceeds("Download complete. 3.10 MB/s"),
		raucProceeds("File checksum OK."), raucProceeds("0% Installing"), raucProceeds("40% Checking bundle"))
	tests := map[string]struct {
		client       client
		downloadOnly bool
		steps        []clientStep
	}{
		"Zephyr 4 installs without a report of progress": {zephyr("//devices.example:8080/"), false, []clientStep{
			{"GET ", "", 200, []string{`"sleep":"00:05:00"`, "configData"}, []string{"cancelAction"}},
			{"PUT /configData", `{"mode":"merge","data":{"VIN":"0042"}}`, 200, nil, nil},
			{"GET ", "", 200, []string{"deploymentBase"}, []string{"configData"}}, // else it would send them in an endless loop
			{"GET {deploymentBase}", "", 200, []string{`"id":"100"`, application, `"download-http"`, `"sha256":"`}, nil},
			{"GET {download}", "", 200, nil, nil},
			reboot,
			{"GET ", "", 200, []string{"deploymentBase"}, []string{"configData"}},
			{"GET {deploymentBase}", "", 200, []string{`"id":"100"`}, nil},
			{"POST /deploymentBase/100/feedback", zephyrClosed, 200, nil, nil},
			{"GET ", "", 200, []string{"configData", "/installedBase/100"}, idle},
			{"PUT /configData", `{"mode":"merge","data":{"VIN":"0042"}}`, 200, nil, nil},
			{"GET ", "", 200, []string{"/installedBase/100"}, append(idle, "configData")},
		}},
		"Zephyr 3.6 installs without a report of progress": {zephyr("/DEFAULT/controller/v1/frdm_k64f-0042/"), false, []clientStep{
			{"GET ", "", 200, []string{"configData", "deploymentBase"}, nil},
			{"PUT /configData", `{"mode":"merge","data":{"VIN":"0042","hwRevision":"3"},"id":"","time":"","status":{"execution":"closed","result":{"finished":"success"}}}`, 200, nil, nil},
			{"GET {deploymentBase}", "", 200, []string{application}, nil},
			{"GET {download}", "", 200, nil, nil},
			reboot,
			{"GET ", "", 200, []string{"deploymentBase"}, nil},
			{"GET {deploymentBase}", "", 200, nil, nil},
			{"POST /deploymentBase/100/feedback", closed36, 200, nil, nil},
			reboot,
			{"GET ", "", 200, []string{"/installedBase/100"}, idle},
		}},
		"Zephyr fetches its deployment again after a download that failed": {zephyr(""), false, []clientStep{
			{"GET {deploymentBase}", "", 200, nil, nil},
			{"GET {download}", "", 200, nil, nil},
			reboot,
			{"GET {deploymentBase}", "", 200, nil, nil},
			{"GET {download}", "", 200, nil, nil},
			reboot,
			{"GET {deploymentBase}", "", 200, nil, nil},
			{"POST /deploymentBase/100/feedback", zephyrClosed, 200, nil, nil},
			{"GET ", "", 200, []string{"/installedBase/100"}, idle},
		}},
		"Zephyr 4 accepts a cancel without fetching it": {zephyr(""), false, []clientStep{
			{"GET {deploymentBase}", "", 200, nil, nil},
			cancel,
			{"GET ", "", 200, []string{`/cancelAction/100"`}, []string{"deploymentBase"}},
			{"POST /cancelAction/100/feedback", zephyrClosed, 200, nil, nil},
			{"GET ", "", 200, nil, append(idle, "installedBase")},
		}},
		"Zephyr 3.6 accepts a cancel without fetching it": {zephyr(""), false, []clientStep{
			{"GET {deploymentBase}", "", 200, nil, nil},
			cancel,
			{"GET ", "", 200, []string{`/cancelAction/100"`}, nil},
			{"POST /cancelAction/100/feedback", `{"id":"100","time":"","status":{"execution":"closed","result":{"finished":"success"}}}`, 200, nil, nil},
			{"GET ", "", 200, nil, idle},
		}},
		"Zephyr 4 refuses a cancel after the installation with a failure": {zephyr(""), false, []clientStep{
			{"GET {deploymentBase}", "", 200, nil, nil},
			{"GET {download}", "", 200, nil, nil},
			cancel,
			reboot,
			{"GET ", "", 200, []string{`/cancelAction/100"`}, nil},
			{"POST /cancelAction/100/feedback", zephyrRejected, 200, nil, nil},
			{"GET ", "", 200, []string{"deploymentBase"}, []string{"cancelAction"}},
			{"GET {deploymentBase}", "", 200, []string{application}, nil},
			{"POST /deploymentBase/100/feedback", zephyrClosed, 200, nil, nil},
			{"GET ", "", 200, []string{"/installedBase/100"}, idle},
		}},
		"RAUC installs": {rauc(), false, append(raucInstalls[:8:8],
			clientStep{"POST /deploymentBase/100/feedback", raucReport("success", "closed", "Software bundle installed successfully."), 200, nil, nil},
			clientStep{"GET ", "", 200, []string{"/installedBase/100"}, idle},
		)},
		"RAUC fails": {rauc(), false, append(raucInstalls[:8:8],
			raucProceeds("LastError: Installation error: Compatible mismatch"),
			clientStep{"POST /deploymentBase/100/feedback", raucReport("failure", "closed", "Failed to install software bundle."), 200, nil, nil},
			clientStep{"GET /installedBase/100?actionHistory=-1", "", 200, []string{`"status":"ERROR"`, "Compatible mismatch"}, nil},
		)},
		"RAUC has nothing to install": {rauc(), true, append(raucInstalls[:6:6],
			clientStep{"POST /deploymentBase/100/feedback", raucReport("success", "downloaded", "Download complete."), 200, nil, nil},
			clientStep{"GET ", "", 200, nil, idle},
		)},
		"RAUC is canceled before it starts": {rauc(), false, append(raucStart[:3:3], cancel,
			clientStep{"GET ", "", 200, []string{"cancelAction"}, []string{"deploymentBase"}},
			clientStep{"GET /cancelAction/100", "", 200, []string{`"stopId":"100"`}, nil},
			clientStep{"POST /cancelAction/100/feedback", raucReport("success", "closed", "Action canceled."), 200, nil, nil},
			clientStep{"GET ", "", 200, nil, idle},
		)},
		"RAUC is canceled while it downloads": {rauc(), false, append(raucInstalls[:4:4], cancel,
			raucProceeds("Download complete. 3.10 MB/s"), raucProceeds("File checksum OK."),
			clientStep{"GET /cancelAction/100", "", 200, nil, nil},
			clientStep{"POST /cancelAction/100/feedback", raucReport("success", "closed", "Action canceled."), 200, nil, nil},
			clientStep{"GET ", "", 200, nil, append(idle, "installedBase")},
		)},
		"RAUC is canceled while it installs": {rauc(), false, append(raucInstalls[:8:8], cancel,
			clientStep{"GET /cancelAction/100", "", 200, nil, nil},
			clientStep{"POST /cancelAction/100/feedback", raucReport("success", "rejected", "Cancellation impossible, installation started already."), 200, nil, nil},
			clientStep{"GET ", "", 200, []string{"deploymentBase"}, []string{"cancelAction"}},
			raucProceeds("100% Installing done."),
			clientStep{"POST /deploymentBase/100/feedback", raucReport("success", "closed", "Software bundle installed successfully."), 200, nil, nil},
			clientStep{"GET ", "", 200, []string{"/installedBase/100"}, idle},
		)},
		"RAUC reports after the end": {rauc(), false, append(raucInstalls[:8:8],
			clientStep{"POST /deploymentBase/100/feedback", raucReport("success", "closed", "Software bundle installed successfully."), 200, nil, nil},
			clientStep{"POST /deploymentBase/100/feedback", raucReport("none", "proceeding", "100% Installing done."), 410, nil, nil},
		)},
		"RAUC resumes a download": {rauc("Range: bytes=99990-"), false, append(raucStart[:3:3],
			clientStep{"GET {download}", "", 206, []string{"0123456789"}, nil},
		)},
		"RAUC asks for the rest of a whole file": {rauc("Range: bytes=100000-"), false, append(raucStart[:3:3],
			clientStep{"GET {download}", "", 416, nil, nil},
		)},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newClientWorld(t, tc.client, tc.downloadOnly)
			p := &clientPlayer{T: t, client: tc.client, world: w, links: map[string]string{"{deploymentBase}": wire.RootPath(tc.client.tenant, tc.client.id) + "/deploymentBase/100"}}
			for i, step := range tc.steps {
				p.play(fmt.Sprintf("step %d, %s", i+1, step.request), step)
			}
		})
	}
}

// clientPlayer sends the requests of one client.
type clientPlayer struct {
	*testing.T
	client client
	world  clientWorld
	conn   net.Conn
	reader *bufio.Reader
	// links are paths by the names that steps use for them.
	links map[string]string
}

func (p *clientPlayer) play(name string, step clientStep) {
	p.Helper()
	switch step.request {
	case "cancel":
		p.world.backend.CancelUpdate(p.world.device)
		return
	case "reboot":
		p.conn.Close()
		p.conn = nil
		return
	}
	response, body := p.send(step)
	if response.StatusCode != step.status {
		p.Fatalf("%s: %d %.300s, want %d", name, response.StatusCode, body, step.status)
	}
	if response.ContentLength != int64(len(body)) || len(response.TransferEncoding) > 0 {
		p.Errorf("%s: Content-Length is %d, Transfer-Encoding %q, and the body has %d bytes", name, response.ContentLength, response.TransferEncoding, len(body))
	}
	if step.request == "GET {download}" && step.status == http.StatusOK && !bytes.Equal(body, p.world.content) {
		p.Errorf("%s: the file has other contents", name)
	}
	for _, text := range step.has {
		if !bytes.Contains(body, []byte(text)) {
			p.Errorf("%s: %s\ndoes not contain %s", name, body, text)
		}
	}
	for _, text := range step.hasNot {
		if bytes.Contains(body, []byte(text)) {
			p.Errorf("%s: %s\ncontains %s", name, body, text)
		}
	}
	p.remember(body)
}

// send writes a request as the client does, and reads the response.
func (p *clientPlayer) send(step clientStep) (*http.Response, []byte) {
	p.Helper()
	method, path, _ := strings.Cut(step.request, " ")
	if link := p.links[path]; link != "" {
		path = link
	} else {
		path = wire.RootPath(p.client.tenant, p.client.id) + path
	}
	var request strings.Builder
	fmt.Fprintf(&request, "%s %s HTTP/1.1\r\n", method, path)
	headers := p.client.headers(method, path)
	if step.body != "" {
		headers = append(headers, jsonBody, fmt.Sprintf("Content-Length: %d", len(step.body)))
	}
	for _, h := range headers {
		if !strings.HasPrefix(h, "Range") || strings.Contains(path, "/artifacts/") {
			request.WriteString(h + "\r\n")
		}
	}
	request.WriteString("\r\n" + step.body)
	if p.conn == nil || p.client.connects {
		conn, err := net.Dial("tcp", p.world.address)
		if err != nil {
			p.Fatal(err)
		}
		p.Cleanup(func() { conn.Close() })
		p.conn, p.reader = conn, bufio.NewReader(conn)
	}
	if err := p.conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		p.Fatal(err)
	}
	if _, err := io.WriteString(p.conn, request.String()); err != nil {
		p.Fatalf("%s: %v", step.request, err)
	}
	response, err := http.ReadResponse(p.reader, nil)
	if err != nil {
		p.Fatalf("%s: %v", step.request, err)
	}
	body, err := io.ReadAll(response.Body)
	if err != nil {
		p.Fatalf("%s: %v", step.request, err)
	}
	return response, body
}

// remember keeps the paths of the links in a document.
func (p *clientPlayer) remember(body []byte) {
	p.Helper()
	var document struct {
		Links      wire.BaseLinks  `json:"_links"`
		Deployment wire.Deployment `json:"deployment"`
	}
	if json.Unmarshal(body, &document) != nil {
		return
	}
	if href := document.Links.DeploymentBase.Href; href != "" {
		p.links["{deploymentBase}"] = p.path(href)
	}
	for _, chunk := range document.Deployment.Chunks {
		links := chunk.Artifacts[0].Links
		if !strings.Contains(links.DownloadHTTP.Href, p.client.fileLinks) || links.Download != links.DownloadHTTP {
			p.Errorf("the links of the file are %+v, want %s in them", links, p.client.fileLinks)
		}
		p.links["{download}"] = p.path(links.DownloadHTTP.Href)
		if n := len(p.links["{download}"]); n >= 200 {
			p.Errorf("the path of the file has %d bytes, and Zephyr 3.6 reads at most 199", n)
		}
	}
}

// path returns path and query of a link.
func (p *clientPlayer) path(href string) string {
	p.Helper()
	u, err := url.Parse(href)
	if err != nil {
		p.Fatal(err)
	}
	return u.RequestURI()
}
