// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package ddi

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/goshawk-dev/goshawk/internal/artifact"
	"github.com/goshawk-dev/goshawk/internal/deviceapi"
)

// Artifacts are what a Server needs to send artifacts to devices. The zero value sends none.
type Artifacts struct {
	// Store fetches the files.
	Store *artifact.Store
	// Keys sign the links, so that a client can use them without the credentials of its device.
	Keys LinkKeys
	// Lifetime is how long a link is valid at least.
	Lifetime time.Duration
}

// LinkKeys are the keys of all replicas.
type LinkKeys interface {
	// Keys returns the present keys. Without any key, links are not signed.
	Keys() artifact.Keys
	// Reload reads the keys again, unless it did so a moment ago: another replica may sign with a
	// new key already.
	Reload(ctx context.Context)
}

// errExpired refuses a link of the right device that has expired. It counts like wrong credentials.
var errExpired = errors.Join(refusal{status: http.StatusUnauthorized, code: "linkExpired",
	message: "this link has expired; poll the base resource, and take the link from the deployment again"}, deviceapi.ErrUnauthorized)

// fileLink returns the link to a file that the device API sends itself.
func (v *visit) fileLink(moduleID, fileName string) string {
	return v.signed(v.fileURL(moduleID, fileName), v.linkTo(moduleID, fileName), v.now)
}

// FileLink returns the link to a file that this device API sends itself, for another protocol that
// the device uses. It is "" if Options has no BaseURL.
func (s *Server) FileLink(device deviceapi.Device, moduleID, fileName string) string {
	if s.baseURL == "" {
		return ""
	}
	url := filePath(s.baseURL, device.Namespace, device.ControllerID, moduleID, fileName)
	return s.signed(url, artifact.Link{Namespace: device.Namespace, ControllerID: device.ControllerID, Module: moduleID, FileName: fileName}, time.Now())
}

// signed returns a URL with a signature, if there are keys.
func (s *Server) signed(url string, link artifact.Link, now time.Time) string {
	if s.artifacts.Keys == nil {
		return url
	}
	keys := s.artifacts.Keys.Keys()
	if keys.IsEmpty() {
		return url
	}
	return url + "?" + keys.Sign(link, now, s.artifacts.Lifetime)
}

func (v *visit) linkTo(moduleID, fileName string) artifact.Link {
	return artifact.Link{Namespace: v.device.Namespace, ControllerID: v.device.ControllerID, Module: moduleID, FileName: fileName}
}

// checkLink returns nil if the request is for an artifact and has a signed link that is valid. A
// link that has expired is valid for the rest of a download of the open action; else the error is
// errExpired. Without a link of the device the error is ErrUnauthorized.
func (v *visit) checkLink(resource *resource) error {
	if resource.name != artifactResource || v.artifacts.Keys == nil {
		return deviceapi.ErrUnauthorized
	}
	query := v.URL.Query()
	device, err := v.deviceOf()
	if err != nil {
		return deviceapi.ErrUnauthorized
	}
	v.device = device
	link := v.linkTo(v.PathValue("moduleId"), v.PathValue("fileName"))
	validity := v.artifacts.Keys.Keys().Check(link, query, v.now)
	if validity == artifact.Forged {
		v.artifacts.Keys.Reload(v.Context())
		validity = v.artifacts.Keys.Keys().Check(link, query, v.now)
	}
	switch validity {
	case artifact.Valid, artifact.Resumes:
		if v.backend, err = v.namespaces(device.Namespace); err != nil {
			return err
		}
		if validity == artifact.Valid || v.resumes() {
			return nil
		}
		return errExpired
	case artifact.Expired:
		return errExpired
	case artifact.Forged, artifact.NotSigned:
	}
	return deviceapi.ErrUnauthorized
}

// resumes reports whether the request is for the rest of a file in one range, and the device has
// started to download its module for an action that is still open.
func (v *visit) resumes() bool {
	rest, isRange := strings.CutPrefix(v.Header.Get("Range"), "bytes=")
	first, _, _ := strings.Cut(rest, "-")
	start, err := strconv.ParseInt(strings.TrimSpace(first), 10, 64)
	if v.Method != http.MethodGet || !isRange || strings.Contains(rest, ",") || err != nil || start <= 0 {
		return false
	}
	module, err := v.backend.Artifacts(v.Context(), v.device, v.PathValue("moduleId"))
	return err == nil && module.Downloading
}

// deliver sends a file to the device.
func (v *visit) deliver(module deviceapi.Module, file deviceapi.Artifact) (answer, error) {
	if v.artifacts.Store == nil {
		return answer{}, deviceapi.Unavailable{Cause: errors.New("this process sends no artifacts")}
	}
	what := artifact.File{Namespace: v.device.Namespace, Name: file.FileName, SHA256: file.SHA256, Size: file.Size}
	for _, d := range file.Downloads {
		what.Places = append(what.Places, artifact.Place{URL: d.URL, PullSecret: d.PullSecret})
	}
	status, err := v.artifacts.Store.Serve(v.writer, v.Request, v.device.Namespace+"/"+v.device.ControllerID, what, func() error {
		return v.backend.ArtifactFetched(v.Context(), v.device, module.ID)
	})
	failure, isFailure := errors.AsType[artifact.Error](err)
	if isFailure && failure.Source {
		v.backend.ArtifactFailed(v.Context(), v.device, module.ID, file.FileName, failure.Reason)
	}
	switch {
	case status != 0:
		return answer{status: status, isSent: true}, nil
	case !isFailure:
		return answer{}, err
	case failure.RetryAfter > 0:
		return answer{}, refusal{status: http.StatusServiceUnavailable, code: "artifactUnavailable", retryAfter: failure.RetryAfter,
			message: "the artifact cannot be sent at the moment; try again later"}
	}
	return answer{}, refusal{status: http.StatusBadGateway, code: "artifactBroken",
		message: "the source of the artifact does not send the file that its SoftwareModule describes; an event of the SoftwareModule says why"}
}
