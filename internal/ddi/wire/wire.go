// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

// Package wire holds the documents of hawkBit's Direct Device Integration API (DDI) in JSON and
// CBOR. They are written as hawkBit writes them. The Decode functions accept everything that known
// clients send. Their errors are sentences that name the wrong field and can be sent to a device
// with status 400.
//
// The package does not interpret reports.
package wire

import (
	"bytes"
	"encoding/json"
	"net/url"
)

// MediaType is the content type of documents in JSON.
const MediaType = "application/json"

// HALMediaType is the default content type of hawkBit's responses. The documents are those of
// MediaType.
const HALMediaType = "application/hal+json"

// RootPath returns the path of one device, with tenant and controller id escaped. Clients such as
// swupdate build all other paths from it and follow no link.
func RootPath(tenant, controllerID string) string {
	return string(AppendRootPath(nil, tenant, controllerID))
}

// AppendRootPath appends RootPath.
func AppendRootPath(to []byte, tenant, controllerID string) []byte {
	to = append(append(to, '/'), url.PathEscape(tenant)...)
	return append(append(to, "/controller/v1/"...), url.PathEscape(controllerID)...)
}

// Marshal returns a document as JSON without white space. It does not escape &, < and >, because
// small clients compare links as text.
func Marshal(document any) ([]byte, error) {
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(document); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(out.Bytes(), []byte("\n")), nil
}

// Link is a HAL link. Every Href is absolute.
type Link struct {
	Href string `json:"href"`
}

// List is a list that is written as [] when it is empty, because several clients cannot read null.
type List[T any] []T

// MarshalJSON returns [] for a nil list.
func (l List[T]) MarshalJSON() ([]byte, error) {
	if l == nil {
		return []byte("[]"), nil
	}
	return Marshal([]T(l))
}

// Error is the body of a refusal. Most clients read only the status code.
type Error struct {
	ExceptionClass string         `json:"exceptionClass,omitempty"`
	ErrorCode      string         `json:"errorCode,omitempty"`
	Message        string         `json:"message,omitempty"`
	Info           map[string]any `json:"info,omitempty"`
}
