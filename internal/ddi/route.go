// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package ddi

import (
	"net/url"
	"strings"
)

// devicePattern contains the segments of wire.RootPath.
var devicePattern = segmentsOf("/{tenant}/controller/v1/{controllerId}")

// segmentsOf splits a pattern that starts with a slash.
func segmentsOf(pattern string) []string {
	if pattern == "" {
		return nil
	}
	return strings.Split(pattern[1:], "/")
}

// destination is what the path of a request names.
type destination struct {
	*resource
	// device are the segments of devicePattern, nil if the path names no device, and below those of
	// the resource.
	device, below []string
}

// PathValue returns the value of a name in the path, or "". It replaces the method of http.Request,
// whose values are a map for each request.
func (v *visit) PathValue(name string) string {
	if value := valueOf(name, devicePattern, v.destination.device); value != "" {
		return value
	}
	return valueOf(name, v.destination.segments, v.destination.below)
}

// valueOf returns the segment whose place in the pattern has this name, or "".
func valueOf(name string, pattern, segments []string) string {
	for i, segment := range segments {
		if isName(pattern[i]) && pattern[i][1:len(pattern[i])-1] == name {
			return segment
		}
	}
	return ""
}

// route finds the resource of a path. A path with a device and without a known resource is an
// unknown resource of that device.
//
// http.ServeMux is not used, because it redirects every path that is not clean, before credentials,
// rates and metrics. This function uses the path as it is: dot segments are IDs like any other
// text, an escaped slash is not a separator, and only empty segments are skipped, because base URLs
// that end in a slash cause them. An empty segment at the end is kept: no resource ends with one.
func route(u *url.URL, prefix string) destination {
	segments, ok := pathSegments(u)
	if !ok {
		return destination{resource: &nowhere}
	}
	if !matches(devicePattern, firstOf(segments, len(devicePattern))) {
		segments = withoutPrefix(segments, prefix)
	}
	root := firstOf(segments, len(devicePattern))
	if !matches(devicePattern, root) {
		return destination{resource: &nowhere}
	}
	below := segments[len(root):]
	for i := range resources {
		if matches(resources[i].segments, below) {
			return destination{resource: &resources[i], device: root, below: below}
		}
	}
	return destination{resource: &nowhere, device: root}
}

// pathSegments returns the unescaped segments of a path. ok is false if one of them cannot be
// unescaped.
func pathSegments(u *url.URL) (segments []string, ok bool) {
	path, isEscaped := u.Path, false
	if u.RawPath != "" { // set only if the path differs from Go's escaping, as with an escaped slash
		path, isEscaped = u.RawPath, true
	}
	last := strings.LastIndexByte(path, '/')
	segments = make([]string, 0, strings.Count(path, "/"))
	for at := 0; at < len(path); {
		length := strings.IndexByte(path[at:], '/')
		if length < 0 {
			length = len(path) - at
		}
		segment := path[at : at+length]
		at += length + 1
		if segment == "" {
			continue
		}
		if isEscaped {
			var err error
			if segment, err = url.PathUnescape(segment); err != nil {
				return nil, false
			}
		}
		segments = append(segments, segment)
	}
	if last > 0 && last == len(path)-1 {
		segments = append(segments, "")
	}
	return segments, true
}

// withoutPrefix removes the path prefix that a proxy has left in the path, if it is there.
func withoutPrefix(segments []string, prefix string) []string {
	if prefix == "" {
		return segments
	}
	given, ok := pathSegments(&url.URL{Path: prefix, RawPath: prefix})
	if !ok || len(segments) < len(given) {
		return segments
	}
	for i, segment := range given {
		if segments[i] != segment {
			return segments
		}
	}
	return segments[len(given):]
}

func firstOf(segments []string, n int) []string { return segments[:min(n, len(segments))] }

// matches reports whether the segments match a pattern, in which a name in braces matches any text
// that is not empty.
func matches(pattern, segments []string) bool {
	if len(pattern) != len(segments) {
		return false
	}
	for i, want := range pattern {
		if isName(want) && segments[i] == "" || !isName(want) && segments[i] != want {
			return false
		}
	}
	return true
}

func isName(segment string) bool { return segment[0] == '{' }
