// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package devicesim

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/goshawk-dev/goshawk/internal/ddi/wire"
)

// maxBody is the maximum size of a response that a device reads.
const maxBody = 1 << 20

// newTransport returns a transport that shares few connections among many devices.
func newTransport(connections int) *http.Transport {
	return &http.Transport{
		Proxy:               http.ProxyFromEnvironment,
		MaxIdleConns:        connections,
		MaxIdleConnsPerHost: connections,
		MaxConnsPerHost:     connections,
		IdleConnTimeout:     time.Minute,
		DisableCompression:  true,
	}
}

// exchange is one request and its response.
type exchange struct {
	method, url string
	asked, at   time.Time
	http        int
	err         error // why there is no usable response
}

// ok reports whether the status is 200, the only one that real clients accept.
func (x exchange) ok() bool { return x.err == nil && x.http == http.StatusOK }

// isRejected reports whether the device API does not accept reports about this action, or no
// longer.
func (x exchange) isRejected() bool {
	return x.http == http.StatusNotFound || x.http == http.StatusMethodNotAllowed || x.http == http.StatusGone
}

// isPermanent reports whether the same request would be refused again.
func (x exchange) isPermanent() bool {
	switch x.http {
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusRequestTimeout, http.StatusTooManyRequests:
		return false
	}
	return x.http >= 400 && x.http < 500
}

func (x exchange) message() string {
	if x.err != nil {
		return fmt.Sprintf("%s %s: %v", x.method, x.url, x.err)
	}
	return fmt.Sprintf("%s %s: answered %d %s", x.method, x.url, x.http, http.StatusText(x.http))
}

func (f *Fleet) get(ctx context.Context, d *device, href string, into any) exchange {
	return f.call(ctx, d, http.MethodGet, href, nil, into)
}

// call sends document, if any, and decodes the response into into, if any.
func (f *Fleet) call(ctx context.Context, d *device, method, href string, document, into any) exchange {
	ctx, cancel := context.WithTimeout(ctx, f.config.RequestTimeout)
	defer cancel()
	x := exchange{method: method, url: href, asked: time.Now()}
	x.http, x.err = f.roundTrip(ctx, d, method, href, document, into)
	x.at = time.Now()
	return x
}

func (f *Fleet) roundTrip(ctx context.Context, d *device, method, href string, document, into any) (int, error) {
	request, err := f.request(ctx, d, method, href, document)
	if err != nil {
		return 0, err
	}
	response, err := f.client.Do(request)
	if err != nil {
		return 0, bare(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, maxBody))
	if err != nil || into == nil || response.StatusCode != http.StatusOK {
		return response.StatusCode, err
	}
	if err := json.Unmarshal(body, into); err != nil {
		return response.StatusCode, fmt.Errorf("the response cannot be read: %w", err)
	}
	return response.StatusCode, nil
}

func (f *Fleet) request(ctx context.Context, d *device, method, href string, document any) (*http.Request, error) {
	var body io.Reader
	if document != nil {
		written, err := wire.Marshal(document)
		if err != nil {
			return nil, err
		}
		body = bytes.NewReader(written)
	}
	request, err := http.NewRequestWithContext(ctx, method, href, body)
	if err != nil {
		return nil, err
	}
	request.Header.Set("Accept", wire.MediaType)
	if document != nil {
		request.Header.Set("Content-Type", wire.MediaType)
	}
	f.authorize(request, d)
	return request, nil
}

// authorize adds the device's token, but never for another host, because artifacts may be stored
// anywhere.
func (f *Fleet) authorize(request *http.Request, d *device) {
	if request.URL.Host != f.base.Host {
		return
	}
	switch {
	case d.Token != "":
		request.Header.Set("Authorization", "TargetToken "+d.Token)
	case f.config.GatewayToken != "":
		request.Header.Set("Authorization", "GatewayToken "+f.config.GatewayToken)
	}
}

// bare removes method and URL, which message adds, from an error of net/http.
func bare(err error) error {
	var wrapped *url.Error
	if errors.As(err, &wrapped) {
		return wrapped.Err
	}
	return err
}

// feedbackURL returns the URL for reports on the resource of a link: its path, without the
// cache-buster, and /feedback.
func feedbackURL(href string) string {
	path, _, _ := strings.Cut(href, "?")
	return strings.TrimSuffix(path, "/") + "/feedback"
}

// actionIn returns the action ID at the end of a link.
func actionIn(href string) string {
	path, _, _ := strings.Cut(href, "?")
	return path[strings.LastIndexByte(path, '/')+1:]
}
