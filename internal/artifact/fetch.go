// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package artifact

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/registry"
	"oras.land/oras-go/v2/registry/remote"
	"oras.land/oras-go/v2/registry/remote/auth"
	"oras.land/oras-go/v2/registry/remote/credentials"
	"oras.land/oras-go/v2/registry/remote/errcode"
)

const (
	dialTimeout   = 10 * time.Second
	headerTimeout = 20 * time.Second
	maxRedirects  = 5
	// maxHeader limits the header of a source.
	maxHeader = 64 << 10
	// maxReason limits the reason of an Error about a place, which may quote what a source sends.
	maxReason = 600
	userAgent = "goshawk"
)

// ociScheme starts the URL of a blob in an OCI registry.
const ociScheme = "oci://"

// canFetch reports whether this package can fetch a URL.
func canFetch(address string) bool {
	return strings.HasPrefix(address, "http://") || strings.HasPrefix(address, "https://") || strings.HasPrefix(address, ociScheme)
}

// fetcher opens sources. It sends nothing of a request of a device to a source.
type fetcher struct {
	client      *http.Client
	plainHTTP   []string
	pullSecrets PullSecrets
}

func newFetcher(o Options) *fetcher {
	transport := &http.Transport{
		DialContext:            o.Sources.dial,
		Proxy:                  nil, // a proxy would resolve the names, and no address could be checked
		TLSClientConfig:        &tls.Config{RootCAs: o.RootCAs, MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout:    dialTimeout,
		ResponseHeaderTimeout:  headerTimeout,
		MaxResponseHeaderBytes: maxHeader,
		DisableCompression:     true, // the bytes are wanted as they are
		MaxIdleConnsPerHost:    4,
		IdleConnTimeout:        time.Minute,
		ForceAttemptHTTP2:      true,
	}
	return &fetcher{
		client:      &http.Client{Transport: transport, CheckRedirect: checkRedirect},
		plainHTTP:   o.PlainHTTP,
		pullSecrets: o.PullSecrets,
	}
}

// checkRedirect limits redirects. The registry client does not send credentials to another host.
func checkRedirect(next *http.Request, before []*http.Request) error {
	last := before[len(before)-1].URL
	switch {
	case len(before) > maxRedirects:
		return broken("it redirects more than %d times", maxRedirects)
	case next.URL.Scheme != "http" && next.URL.Scheme != "https":
		return broken("it redirects to a URL with the scheme %s", next.URL.Scheme)
	case last.Scheme == "https" && next.URL.Scheme == "http":
		return broken("it redirects from https to http")
	}
	next.Header.Del("Referer") // its query may hold a signature
	return nil
}

// open opens a place of a file at an offset below its size. A source without ranges sends the file
// from its start; then start is zero.
func (f *fetcher) open(ctx context.Context, file File, place Place, offset int64) (body io.ReadCloser, start int64, err error) {
	if !canFetch(place.URL) {
		return nil, 0, at(place, broken("the URL must start with https://, http:// or oci://"))
	}
	open := f.openHTTP
	if strings.HasPrefix(place.URL, ociScheme) {
		open = f.openOCI
	}
	if body, start, err = open(ctx, file, place, offset); err != nil {
		return nil, 0, at(place, err)
	}
	return body, start, nil
}

// at puts the place in front of an error.
func at(place Place, err error) error {
	e := Error{Source: true, RetryAfter: sourceRetry, Reason: plain(err)}
	if known, ok := errors.AsType[Error](err); ok {
		e = known
	}
	e.Reason = redacted(place.URL) + ": " + cut(e.Reason, maxReason)
	return e
}

// redacted returns a URL without its user, query and fragment, which may hold credentials.
func redacted(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return "a URL that cannot be read"
	}
	return (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}).String()
}

// queries matches the queries of URLs in a text.
var queries = regexp.MustCompile(`\?[^\s"]*`)

// plain returns the text of an error without the URLs that net/http adds, whose queries may hold
// credentials.
func plain(err error) string {
	for inner, ok := errors.AsType[*url.Error](err); ok; inner, ok = errors.AsType[*url.Error](err) {
		err = inner.Err
	}
	return cut(queries.ReplaceAllString(err.Error(), ""), 300)
}

// cut returns the first bytes of a text.
func cut(text string, most int) string {
	return strings.ToValidUTF8(text[:min(most, len(text))], "")
}

func (f *fetcher) openHTTP(ctx context.Context, file File, place Place, offset int64) (io.ReadCloser, int64, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, place.URL, nil)
	if err != nil {
		return nil, 0, broken("the URL cannot be read: %s", plain(err))
	}
	request.Header.Set("User-Agent", userAgent)
	request.Header.Set("Accept-Encoding", "identity")
	if offset > 0 {
		request.Header.Set("Range", fmt.Sprintf("bytes=%d-", offset))
	}
	response, err := f.client.Do(request)
	if err != nil {
		return nil, 0, err
	}
	start, err := startOf(response, file, offset)
	if err != nil {
		_ = response.Body.Close()
		return nil, 0, err
	}
	return response.Body, start, nil
}

// startOf returns at which byte of the file a response starts, or what is wrong with the response.
func startOf(response *http.Response, file File, offset int64) (int64, error) {
	if coding := response.Header.Get("Content-Encoding"); coding != "" && !strings.EqualFold(coding, "identity") {
		return 0, broken("it sends the file with Content-Encoding %s", strconv.Quote(coding))
	}
	switch response.StatusCode {
	case http.StatusOK:
		if response.ContentLength >= 0 && response.ContentLength != file.Size {
			return 0, wrongSize(response.ContentLength, file)
		}
		return 0, nil
	case http.StatusPartialContent:
		return offset, checkRange(response.Header.Get("Content-Range"), file, offset)
	case http.StatusRequestTimeout, http.StatusTooManyRequests, http.StatusTooEarly:
		return 0, passing("it returns %s", response.Status)
	}
	if response.StatusCode >= http.StatusInternalServerError {
		return 0, passing("it returns %s", response.Status)
	}
	return 0, broken("it returns %s", response.Status)
}

func wrongSize(size int64, file File) error {
	return broken("the file has %d bytes, but size of the artifact is %d: correct the URL or size", size, file.Size)
}

// checkRange returns an error if a partial response does not start at the offset.
func checkRange(contentRange string, file File, offset int64) error {
	var first, last int64
	var length string
	if _, err := fmt.Sscanf(contentRange, "bytes %d-%d/%s", &first, &last, &length); err != nil || first != offset {
		return broken("it was asked for the bytes from %d on and sends %s", offset, strconv.Quote(contentRange))
	}
	if size, err := strconv.ParseInt(length, 10, 64); err == nil && size != file.Size {
		return wrongSize(size, file)
	}
	return nil
}

func (f *fetcher) openOCI(ctx context.Context, file File, place Place, offset int64) (io.ReadCloser, int64, error) {
	reference, err := registry.ParseReference(strings.TrimPrefix(place.URL, ociScheme))
	if err != nil {
		return nil, 0, broken("the URL must be oci://registry/repository@sha256:digest")
	}
	if reference.Reference != digest.SHA256.String()+":"+file.SHA256 {
		return nil, 0, broken("the digest in the URL must be checksums.sha256 of the artifact: name the blob with the file, not its manifest")
	}
	client := &auth.Client{Client: f.client, Header: http.Header{"User-Agent": {userAgent}, "Accept-Encoding": {"identity"}}}
	if place.PullSecret != "" {
		if client.Credential, err = f.credential(ctx, file.Namespace, place.PullSecret); err != nil {
			return nil, 0, err
		}
	}
	repository := &remote.Repository{Reference: reference, Client: client, PlainHTTP: slices.Contains(f.plainHTTP, reference.Registry)}
	blob, err := repository.Blobs().Fetch(ctx, ocispec.Descriptor{Digest: digest.NewDigestFromEncoded(digest.SHA256, file.SHA256), Size: file.Size})
	if err != nil {
		return nil, 0, registryError(err)
	}
	if seeker, ok := blob.(io.Seeker); ok && offset > 0 {
		if _, err := seeker.Seek(offset, io.SeekStart); err != nil {
			_ = blob.Close()
			return nil, 0, err
		}
		return blob, offset, nil
	}
	return blob, 0, nil
}

// credential returns the credentials of a pull Secret. The library sends them only to the registry
// that the Secret names them for.
func (f *fetcher) credential(ctx context.Context, namespace, name string) (auth.CredentialFunc, error) {
	if f.pullSecrets == nil {
		return nil, broken("pullSecretRef names Secret %s, and this process reads no pull Secrets", name)
	}
	config, err := f.pullSecrets(ctx, namespace, name)
	if err != nil {
		return nil, err
	}
	store, err := credentials.NewMemoryStoreFromDockerConfig(config)
	if err != nil {
		// The error of the library is left out: it may quote the Secret.
		return nil, broken("Secret %s (pullSecretRef) has no valid .dockerconfigjson: create it with kubectl create secret docker-registry", name)
	}
	return credentials.Credential(store), nil
}

// registryError returns an error of the registry client as an Error.
func registryError(err error) error {
	if known, ok := errors.AsType[Error](err); ok {
		return known
	}
	if response, ok := errors.AsType[*errcode.ErrorResponse](err); ok {
		status := fmt.Sprintf("%d %s", response.StatusCode, http.StatusText(response.StatusCode))
		switch {
		case response.StatusCode == http.StatusUnauthorized || response.StatusCode == http.StatusForbidden:
			return broken("the registry returns %s: name a Secret with the credentials of this registry in pullSecretRef", status)
		case response.StatusCode >= http.StatusInternalServerError || response.StatusCode == http.StatusTooManyRequests:
			return passing("the registry returns %s", status)
		}
		return broken("the registry returns %s", status)
	}
	if isNetwork(err) {
		return err
	}
	return broken("%s", plain(err))
}

// isNetwork reports whether an error is one of the connection.
func isNetwork(err error) bool {
	_, isURL := errors.AsType[*url.Error](err)
	_, isNet := errors.AsType[net.Error](err)
	return isURL || isNet || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, context.Canceled)
}
