// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package world

import (
	"fmt"
	"net/http"
	"strings"
)

// Request is what RBAC checks of a request to the API server: verb, resource and name.
type Request struct {
	// Verb is one of get, list, watch, create, update, patch, delete and deletecollection.
	Verb string
	// Group, Resource and Subresource. Resource is empty if the path names no resource, such as
	// those of the discovery.
	Group, Resource, Subresource string
	// Namespace and Name. The name of a new object is in its body.
	Namespace, Name string
}

func (r Request) String() string {
	return fmt.Sprintf("%s %s/%s %s in %s", r.Verb, r.Resource, r.Name, r.Subresource, r.Namespace)
}

// RequestOf reads verb and path of a request:
// /apis/{group}/{version}/namespaces/{namespace}/{resource}/{name}/{subresource}, the same below
// /api/{version}, and both without a namespace.
func RequestOf(r *http.Request) Request {
	parts := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	var request Request
	switch {
	case parts[0] == "api" && len(parts) > 2:
		parts = parts[2:]
	case parts[0] == "apis" && len(parts) > 3:
		request.Group, parts = parts[1], parts[3:]
	default:
		parts = nil
	}
	if len(parts) > 2 && parts[0] == "namespaces" {
		request.Namespace, parts = parts[1], parts[2:]
	}
	for i, into := range []*string{&request.Resource, &request.Name, &request.Subresource} {
		if i < len(parts) {
			*into = parts[i]
		}
	}
	request.Verb = verb(r, request.Name != "")
	return request
}

func verb(r *http.Request, ofOne bool) string {
	switch {
	case r.Method == http.MethodPost:
		return "create"
	case r.Method == http.MethodPut:
		return "update"
	case r.Method == http.MethodPatch:
		return "patch"
	case r.Method == http.MethodDelete && ofOne:
		return "delete"
	case r.Method == http.MethodDelete:
		return "deletecollection"
	case r.URL.Query().Get("watch") == "true" || r.URL.Query().Get("watch") == "1":
		return "watch"
	case ofOne:
		return "get"
	}
	return "list"
}
