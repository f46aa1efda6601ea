// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

// Package artifact streams the files of software modules from HTTP servers and OCI registries to
// devices. A file is identified by its SHA-256 and its size. Both are verified while the file is
// streamed, and its last bytes are sent only after that, so a device never receives a whole file
// with other content.
//
// Files are kept in a cache on disk. Devices that download the same file at the same time cause one
// request to its source. Without room in the cache a file is streamed past it. The package knows no
// device and no Kubernetes object.
package artifact

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// File is one file of a module, as its manifest describes it.
type File struct {
	// Namespace of the module. Files of different namespaces are never shared, because a checksum
	// is no proof that a namespace may read a file.
	Namespace string
	// Name is the file name for the device.
	Name string
	// SHA256 is the checksum of the file as 64 lower-case hexadecimal digits, and Size its length
	// in bytes.
	SHA256 string
	Size   int64
	// Places are the sources of the file, in order of preference.
	Places []Place
}

// Place is one source of a file.
type Place struct {
	// URL is http://, https:// or oci://registry/repository@sha256:digest, where the digest is that
	// of the blob.
	URL string
	// PullSecret is the name of the Secret with the credentials of the registry; empty: none.
	PullSecret string
}

// PullSecrets returns the content of a Secret of type kubernetes.io/dockerconfigjson.
type PullSecrets func(ctx context.Context, namespace, name string) ([]byte, error)

// Error is why a file cannot be streamed.
type Error struct {
	// RetryAfter is after which time another request may succeed. Zero: a person must change
	// something first.
	RetryAfter time.Duration
	// Source means that the source of the file is the cause, not a limit of this process.
	Source bool
	// Reason is a sentence for an operator.
	Reason string
}

func (e Error) Error() string { return e.Reason }

const (
	// sourceRetry and limitRetry are the values of RetryAfter for a source that does not respond,
	// and for a limit of this process.
	sourceRetry = 10 * time.Second
	limitRetry  = 30 * time.Second
)

// broken is a failure that another request does not repair, and passing one that it may repair.
func broken(format string, args ...any) error {
	return Error{Source: true, Reason: fmt.Sprintf(format, args...)}
}

func passing(format string, args ...any) error {
	return Error{Source: true, RetryAfter: sourceRetry, Reason: fmt.Sprintf(format, args...)}
}

// errorOf returns err as an Error.
func errorOf(err error) Error {
	if known, ok := errors.AsType[Error](err); ok {
		return known
	}
	return Error{RetryAfter: sourceRetry, Reason: err.Error()}
}
