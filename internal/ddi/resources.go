// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package ddi

import (
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/cespare/xxhash/v2"

	"github.com/goshawk-dev/goshawk/internal/ddi/wire"
	"github.com/goshawk-dev/goshawk/internal/deviceapi"
)

// resource is one path of DDI.
type resource struct {
	name, path string
	// segments of path; see route.
	segments []string
	methods  methods
	// readsBeyondRate means that a report of a device beyond its rate is read before it is refused,
	// because a result must not be lost.
	readsBeyondRate bool
}

type methods map[string]handler

// handler processes a request of an authorized device.
type handler func(*visit) (answer, error)

// visit is one request. Handlers get it after authorization.
type visit struct {
	*Server
	*http.Request
	writer http.ResponseWriter
	origin origin
	// destination is set after origin, which may name a prefix of the path.
	destination destination
	backend     deviceapi.Backend
	device      deviceapi.Device
	now         time.Time
	// rootURL is set by root.
	rootURL string
	// gatewayToken is that of the request, or "".
	gatewayToken string
	// isRefused means that the credentials are wrong.
	isRefused bool
	// beyondRate is the refusal of reports that are not results, because the device, or all devices
	// together, exceed their rate; nil: they do not.
	beyondRate error

	// base, headers and body are space for the response to a poll.
	base    wire.Base
	headers [3]header
	body    []byte
}

// visits has the visits of past requests, whose space is used again.
var visits = sync.Pool{New: func() any { return &visit{} }}

// artifactResource is the resource that a signed link gives access to.
const artifactResource = "artifact"

// resources are all paths below a device. Of two matching paths, the first one counts.
var resources = withSegments([]resource{
	{name: "base", path: "", methods: readable(document(base))},
	{name: "deploymentBase", path: "/deploymentBase/{actionId}",
		methods: readable(document(actionDocument(deployment, (*visit).deploymentBaseOf)))},
	{name: "deploymentBaseFeedback", path: "/deploymentBase/{actionId}/feedback", readsBeyondRate: true,
		methods: methods{http.MethodPost: feedback(ReportOf, deviceapi.Backend.Report)}},
	{name: "cancelAction", path: "/cancelAction/{actionId}",
		methods: readable(document(cancelAction))},
	{name: "cancelActionFeedback", path: "/cancelAction/{actionId}/feedback", readsBeyondRate: true,
		methods: methods{http.MethodPost: feedback(CancelReportOf, deviceapi.Backend.AnswerCancel)}},
	{name: "configData", path: "/configData",
		methods: methods{http.MethodPut: configData}},
	{name: "installedBase", path: "/installedBase/{actionId}",
		methods: readable(document(actionDocument(installed, (*visit).deploymentBaseOf)))},
	{name: "installedBaseReport", path: "/installedBase",
		methods: methods{http.MethodPut: installedBase}},
	{name: "confirmationBase", path: "/confirmationBase",
		methods: readable(document(consent))},
	{name: "activateAutoConfirm", path: "/confirmationBase/activateAutoConfirm",
		methods: methods{http.MethodPost: activateAutoConfirm}},
	{name: "deactivateAutoConfirm", path: "/confirmationBase/deactivateAutoConfirm",
		methods: methods{http.MethodPost: deactivateAutoConfirm}},
	{name: "confirmation", path: "/confirmationBase/{actionId}",
		methods: readable(document(actionDocument(confirmation, (*visit).confirmationOf)))},
	{name: "confirmationFeedback", path: "/confirmationBase/{actionId}/feedback", readsBeyondRate: true,
		methods: methods{http.MethodPost: confirmationFeedback}},
	{name: "artifacts", path: "/softwaremodules/{moduleId}/artifacts",
		methods: readable(document(artifacts))},
	{name: artifactResource, path: "/softwaremodules/{moduleId}/artifacts/{fileName}",
		methods: readable(artifactFile)},
})

func withSegments(list []resource) []resource {
	for i := range list {
		list[i].segments = segmentsOf(list[i].path)
	}
	return list
}

// nowhere is any other path.
var nowhere = resource{name: "unknown"}

func readable(get handler) methods { return methods{http.MethodGet: get, http.MethodHead: get} }

// allow lists the methods for an Allow header.
func (r *resource) allow() string {
	return strings.Join(slices.Sorted(maps.Keys(r.methods)), ", ")
}

// document responds with the result of find, in the media type that the device accepts and with an
// ETag, or with 304 if the device already has the document. The media type is checked first,
// because find may start an action.
func document(find func(*visit) (any, error)) handler {
	return func(v *visit) (answer, error) {
		mediaType, ok := negotiate(v.Header["Accept"])
		if !ok {
			return answer{}, notAcceptable
		}
		found, err := find(v)
		if err != nil {
			return answer{}, err
		}
		a, err := v.written(http.StatusOK, mediaType, found)
		if err != nil {
			return answer{}, err
		}
		etag := header{"Etag", etagOf(a.body)}
		if hasETag(v.Header["If-None-Match"], etag.value) {
			return answer{status: http.StatusNotModified, headers: []header{etag}}, nil
		}
		a.headers = append(a.headers, etag)
		return a, nil
	}
}

// etagOf returns the ETag of a body, which is the same on all replicas.
func etagOf(body []byte) string {
	const most = len(`"ffffffffffffffff"`)
	return string(append(strconv.AppendUint(append(make([]byte, 0, most), '"'), xxhash.Sum64(body), 16), '"'))
}

func hasETag(ifNoneMatch []string, etag string) bool {
	for _, line := range ifNoneMatch {
		for candidate := range strings.SplitSeq(line, ",") {
			candidate = strings.TrimSpace(candidate)
			if candidate == "*" || strings.TrimPrefix(candidate, "W/") == etag {
				return true
			}
		}
	}
	return false
}

func base(v *visit) (any, error) {
	state, err := v.backend.State(v.Context(), v.device, v.remote())
	if err == nil {
		state, err = v.withoutRemoval(state)
	}
	if err != nil {
		return nil, err
	}
	v.base = v.baseOf(state)
	return &v.base, nil
}

// remote returns the address of the device, or "".
func (v *visit) remote() string {
	if v.origin.address.IsValid() {
		return v.origin.address.String()
	}
	return ""
}

// actionDocument finds an action and writes it with the requested history.
func actionDocument[D any](find func(*visit, int32) (deviceapi.Deployment, error), write func(*visit, deviceapi.Deployment, int) D) func(*visit) (any, error) {
	return func(v *visit) (any, error) {
		id, err := v.actionID()
		if err != nil {
			return nil, err
		}
		messages, err := v.wantedMessages()
		if err != nil {
			return nil, err
		}
		found, err := find(v, id)
		if err != nil {
			return nil, err
		}
		return write(v, found, messages), nil
	}
}

// deployment returns an action, and starts it if it is offered. HEAD does not start it.
func deployment(v *visit, id int32) (deviceapi.Deployment, error) {
	return v.possible(id, func() (deviceapi.Deployment, error) {
		if v.Method == http.MethodHead {
			return v.backend.Preview(v.Context(), v.device, id, false)
		}
		return v.backend.Deployment(v.Context(), v.device, id)
	})
}

// confirmation returns an action that waits for confirmation. HEAD does not create it.
func confirmation(v *visit, id int32) (deviceapi.Deployment, error) {
	return v.possible(id, func() (deviceapi.Deployment, error) {
		if v.Method == http.MethodHead {
			return v.backend.Preview(v.Context(), v.device, id, true)
		}
		return v.backend.Confirmation(v.Context(), v.device, id)
	})
}

// installed returns a closed action that finished or failed.
func installed(v *visit, id int32) (deviceapi.Deployment, error) {
	found, err := v.backend.Installed(v.Context(), v.device, id)
	if err == nil && !isPossible(found) {
		return deviceapi.Deployment{}, deviceapi.ErrNotFound
	}
	return found, err
}

func cancelAction(v *visit) (any, error) {
	id, err := v.actionID()
	if err != nil {
		return nil, err
	}
	if err := v.backend.Cancel(v.Context(), v.device, id); err != nil {
		return nil, err
	}
	return wire.NewCancelAction(strconv.Itoa(int(id))), nil
}

func configData(v *visit) (answer, error) {
	data, err := read(v, wire.DecodeConfigData)
	if err != nil {
		return answer{}, err
	}
	return done, asKind(wrongAttribute, v.backend.Attributes(v.Context(), v.device, attributesOf(data)))
}

func installedBase(v *visit) (answer, error) {
	set, err := read(v, wire.DecodeInstalledSet)
	if err != nil {
		return answer{}, err
	}
	created, err := v.backend.ReportInstalled(v.Context(), v.device, set.Name, set.Version)
	if created {
		return answer{status: http.StatusCreated}, err
	}
	return done, asKind(wrongSet, err)
}

func artifacts(v *visit) (any, error) {
	module, err := v.backend.Artifacts(v.Context(), v.device, v.PathValue("moduleId"))
	if err != nil {
		return nil, err
	}
	return v.artifactsOf(module), nil
}

// artifactFile sends a file, or redirects the request to the location of the file. A name that ends
// in .MD5SUM is a file with that name, or else the checksum of a file.
func artifactFile(v *visit) (answer, error) {
	module, err := v.backend.Artifacts(v.Context(), v.device, v.PathValue("moduleId"))
	if err != nil {
		return answer{}, err
	}
	name := v.PathValue("fileName")
	if file, ok := fileNamed(module, name); ok && file.Proxied {
		return v.deliver(module, file)
	} else if ok {
		return v.fetch(module, file)
	}
	if file, ok := fileNamed(module, strings.TrimSuffix(name, md5Suffix)); ok && file.MD5 != "" {
		body := []byte(wire.MD5SumLine(file.MD5, file.FileName))
		return answer{status: http.StatusOK, headers: []header{{"Content-Type", "text/plain; charset=utf-8"}}, body: body}, nil
	}
	return answer{}, deviceapi.ErrNotFound
}

func fileNamed(module deviceapi.Module, name string) (deviceapi.Artifact, bool) {
	for _, file := range module.Artifacts {
		if file.FileName == name {
			return file, true
		}
	}
	return deviceapi.Artifact{}, false
}

// fetch records a download. A HEAD request is not a download: clients use it to ask for the size of
// a file.
func (v *visit) fetch(module deviceapi.Module, file deviceapi.Artifact) (answer, error) {
	to, err := v.redirect(file)
	if err == nil && v.Method == http.MethodGet {
		err = v.backend.ArtifactFetched(v.Context(), v.device, module.ID)
	}
	return to, err
}

// redirect keeps the method and the range of the request.
func (v *visit) redirect(file deviceapi.Artifact) (answer, error) {
	place := downloadOf(file, deviceapi.HTTP, deviceapi.HTTPS)
	if strings.HasPrefix(v.origin.base, "https:") {
		place = downloadOf(file, deviceapi.HTTPS, deviceapi.HTTP)
	}
	if place.URL == "" {
		return answer{}, deviceapi.ErrNotFound
	}
	return answer{status: http.StatusTemporaryRedirect, headers: []header{{"Location", place.URL}}}, nil
}

// actionID reads the ID in the path. If it is not a number, the request is wrong; an ID that cannot
// exist is not found.
func (v *visit) actionID() (int32, error) {
	text := v.PathValue("actionId")
	if strings.ContainsFunc(text, func(r rune) bool { return r < '0' || r > '9' }) {
		return 0, deviceapi.BadRequest{Reason: "the id of the action in the path must be a decimal number"}
	}
	id, err := strconv.ParseInt(text, 10, 32)
	if err != nil || id == 0 {
		return 0, deviceapi.ErrNotFound
	}
	return int32(id), nil
}

// maxMessages is the maximum number of messages in a history, as in hawkBit.
const maxMessages = 100

// wantedMessages reads actionHistory: how many messages to send, 0 for none.
func (v *visit) wantedMessages() (int, error) {
	text := v.URL.Query().Get("actionHistory")
	if text == "" {
		return 0, nil
	}
	n, err := strconv.ParseInt(text, 10, 32)
	switch {
	case err != nil:
		return 0, deviceapi.BadRequest{Reason: "the query parameter actionHistory must be a number: 0 for none, -1 for all, n for the newest n"}
	case n < 0:
		return maxMessages, nil
	}
	return min(int(n), maxMessages), nil
}
