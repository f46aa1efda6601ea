// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"reflect"
	"slices"

	"github.com/fxamacker/cbor/v2"
)

// CBORMediaType is the content type of documents in CBOR. They have the data of the JSON documents:
// the same names, texts and numbers.
const CBORMediaType = "application/cbor"

const (
	// maxCBORDepth is how deep values of a CBOR document are read. Deeper ones become null.
	maxCBORDepth = 8
	// maxCBORList and maxCBORMap are the maximum numbers of entries in a list and in a map.
	maxCBORList = 1 << 17
	maxCBORMap  = 1 << 14
	// maxCBORGrowth is how much larger than the CBOR document, in bytes, its JSON may be.
	maxCBORGrowth = 4 << 20
)

// errCBORTooLarge means that the JSON of a CBOR document would be too large.
var errCBORTooLarge = errors.New("the body is too large as JSON; send less")

var (
	cborEncoding = must(cbor.CoreDetEncOptions().EncMode())
	cborDecoding = must(cbor.DecOptions{
		MaxArrayElements:      maxCBORList,
		MaxMapPairs:           maxCBORMap,
		MaxNestedLevels:       1 << 15,
		UTF8:                  cbor.UTF8DecodeInvalid, // as JSON, whose wrong bytes are replaced
		TimeTagToAny:          cbor.TimeTagToRFC3339,
		DefaultByteStringType: reflect.TypeFor[string](),
		BignumTag:             cbor.BignumTagForbidden, // to write a long one as decimal takes long
		NaN:                   cbor.NaNDecodeForbidden,
		Inf:                   cbor.InfDecodeForbidden,
	}.DecMode())
)

// must returns a mode, whose options are constants.
func must[T any](mode T, err error) T {
	if err != nil {
		panic(err)
	}
	return mode
}

// MarshalCBOR writes a document as CBOR.
func MarshalCBOR(document any) ([]byte, error) {
	asJSON, err := Marshal(document)
	if err != nil {
		return nil, err
	}
	decoder := json.NewDecoder(bytes.NewReader(asJSON))
	decoder.UseNumber()
	var value any
	if err := decoder.Decode(&value); err != nil {
		return nil, err
	}
	return cborEncoding.Marshal(withNumbers(value))
}

// withNumbers replaces the numbers of a decoded JSON document, which are texts.
func withNumbers(value any) any {
	switch v := value.(type) {
	case json.Number:
		if n, err := v.Int64(); err == nil {
			return n
		}
		f, _ := v.Float64() // a JSON number is one
		return f
	case []any:
		for i := range v {
			v[i] = withNumbers(v[i])
		}
	case map[string]any:
		for key := range v {
			v[key] = withNumbers(v[key])
		}
	}
	return value
}

// JSONOfCBOR returns the JSON of a CBOR document, for the Decode functions. Names must be texts.
// Byte strings are texts, tags are left out, and values that are nested deeper than any document of
// DDI become null. The error is a sentence that can be sent to the device.
func JSONOfCBOR(body []byte) ([]byte, error) {
	if len(body) == 0 {
		return nil, nil
	}
	if err := cborDecoding.Wellformed(body); err != nil {
		return nil, fmt.Errorf("the body is not CBOR: %s", reasonOf(err))
	}
	t := transcoder{most: len(body) + maxCBORGrowth}
	if err := t.value(body, 0); err != nil {
		return nil, err
	}
	return t.out.Bytes(), nil
}

// reasonOf returns a short text for an error of the CBOR library.
func reasonOf(err error) string {
	if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
		return "it ends too early"
	}
	return err.Error()
}

// transcoder writes CBOR values as JSON.
type transcoder struct {
	out  bytes.Buffer
	most int
}

// Major types of CBOR, which are the first three bits of a value.
const (
	cborArray = 4
	cborMap   = 5
	cborTag   = 6
)

// selfDescribed is the tag of documents that are CBOR, which the library ignores.
var selfDescribed = []byte{0xd9, 0xd9, 0xf7}

func (t *transcoder) value(data []byte, depth int) error {
	for bytes.HasPrefix(data, selfDescribed) {
		data = data[len(selfDescribed):]
	}
	major := data[0] >> 5
	switch isNested := major == cborArray || major == cborMap || major == cborTag; {
	case isNested && depth >= maxCBORDepth:
		t.out.WriteString("null")
	case major == cborArray:
		return t.list(data, depth)
	case major == cborMap:
		return t.object(data, depth)
	case major == cborTag:
		return t.tagged(data, depth)
	default:
		return t.scalar(data)
	}
	return nil
}

func (t *transcoder) list(data []byte, depth int) error {
	var entries []cbor.RawMessage
	if err := cborDecoding.Unmarshal(data, &entries); err != nil {
		return fmt.Errorf("the body has a list that cannot be read: %w", err)
	}
	t.out.WriteByte('[')
	for i, entry := range entries {
		if i > 0 {
			t.out.WriteByte(',')
		}
		if err := t.value(entry, depth+1); err != nil {
			return err
		}
	}
	t.out.WriteByte(']')
	return nil
}

func (t *transcoder) object(data []byte, depth int) error {
	var entries map[string]cbor.RawMessage
	if err := cborDecoding.Unmarshal(data, &entries); err != nil {
		return fmt.Errorf("the body has a map that cannot be read; its names must be texts: %w", err)
	}
	t.out.WriteByte('{')
	for i, name := range slices.Sorted(maps.Keys(entries)) {
		if i > 0 {
			t.out.WriteByte(',')
		}
		if err := t.write(name); err != nil {
			return err
		}
		t.out.WriteByte(':')
		if err := t.value(entries[name], depth+1); err != nil {
			return err
		}
	}
	t.out.WriteByte('}')
	return nil
}

// tagged writes a time as text, and of other tags the content.
func (t *transcoder) tagged(data []byte, depth int) error {
	var tag cbor.RawTag
	if err := cborDecoding.Unmarshal(data, &tag); err != nil {
		return fmt.Errorf("the body has a tag that cannot be read: %w", err)
	}
	if tag.Number <= 3 { // times, and bignums, which are refused
		return t.scalar(data)
	}
	return t.value(tag.Content, depth+1)
}

func (t *transcoder) scalar(data []byte) error {
	var value any
	if err := cborDecoding.Unmarshal(data, &value); err != nil {
		return fmt.Errorf("the body has a value that cannot be read: %w", err)
	}
	return t.write(value)
}

func (t *transcoder) write(value any) error {
	text, err := Marshal(value)
	if err != nil {
		return fmt.Errorf("the body has a value that JSON does not have: %w", err)
	}
	if t.out.Len()+len(text) > t.most {
		return errCBORTooLarge
	}
	t.out.Write(text)
	return nil
}
