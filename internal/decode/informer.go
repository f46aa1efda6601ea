// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package decode

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/rest"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
)

// informers creates informers that isolate objects that cannot be decoded, and report them.
type informers struct {
	report *Report
	client rest.Interface
	params runtime.ParameterCodec
}

// Isolate makes the caches of a manager isolate objects of this group that cannot be decoded, and
// report them.
//
// controller-runtime creates the decoders of its caches itself, so this package lists and watches
// these kinds. The parameters of the requests (path, selectors, and thereby the namespaces of a
// manager) remain those of controller-runtime: its own list is called, and the request is recorded
// instead of being sent.
func Isolate(options *cache.Options, config *rest.Config, scheme *runtime.Scheme, report *Report) error {
	httpClient, err := rest.HTTPClientFor(config)
	if err != nil {
		return fmt.Errorf("create HTTP client: %w", err)
	}
	config = rest.CopyConfig(config)
	config.GroupVersion, config.APIPath, config.NegotiatedSerializer = &v1alpha1.GroupVersion, "/apis", serializerFor(scheme)
	config.ContentType, config.AcceptContentTypes = runtime.ContentTypeJSON, runtime.ContentTypeJSON
	if config.UserAgent == "" {
		config.UserAgent = rest.DefaultKubernetesUserAgent()
	}
	client, err := rest.RESTClientForConfigAndClient(config, httpClient)
	if err != nil {
		return fmt.Errorf("create the client of the caches: %w", err)
	}
	probing := *httpClient
	probing.Transport = probe{httpClient.Transport}
	options.HTTPClient = &probing
	i := &informers{report: report, client: client, params: runtime.NewParameterCodec(scheme)}
	options.NewInformer = i.newInformer
	return nil
}

func (i *informers) newInformer(lw toolscache.ListerWatcher, example runtime.Object, resync time.Duration, indexers toolscache.Indexers) toolscache.SharedIndexInformer {
	if !IsIsolated(example) {
		return toolscache.NewSharedIndexInformer(lw, example, resync, indexers)
	}
	requests := sync.OnceValues(func() (*url.URL, error) { return requestOf(lw) })
	request := func(opts metav1.ListOptions) (*rest.Request, error) {
		at, err := requests()
		if err != nil {
			return nil, err
		}
		opts.LabelSelector, opts.FieldSelector = at.Query().Get("labelSelector"), at.Query().Get("fieldSelector")
		return i.client.Get().AbsPath(at.Path).VersionedParams(&opts, i.params), nil
	}
	informer := toolscache.NewSharedIndexInformer(&toolscache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, opts metav1.ListOptions) (runtime.Object, error) {
			r, err := request(opts)
			if err != nil {
				return nil, err
			}
			list := newListOf(example)
			return list, r.Do(ctx).Into(list)
		},
		WatchFuncWithContext: func(ctx context.Context, opts metav1.ListOptions) (watch.Interface, error) {
			opts.Watch, opts.AllowWatchBookmarks = true, true
			r, err := request(opts)
			if err != nil {
				return nil, err
			}
			return r.Watch(ctx)
		},
	}, example, resync, indexers)
	if _, err := informer.AddEventHandler(i.report.handler()); err != nil {
		panic(err) // only a stopped informer returns an error, and this one has not started
	}
	return informer
}

// probed is the context key of a request that is recorded instead of being sent.
type probed struct{}

var errProbed = errors.New("the request was recorded, not sent")

// probe is a transport that records requests with the key probed, and sends all others.
type probe struct{ http.RoundTripper }

// RoundTrip sends or records a request.
func (p probe) RoundTrip(r *http.Request) (*http.Response, error) {
	if at, ok := r.Context().Value(probed{}).(*url.URL); ok {
		*at = *r.URL
		return nil, errProbed
	}
	return p.RoundTripper.RoundTrip(r)
}

// requestOf returns the URL that a list would request.
func requestOf(lw toolscache.ListerWatcher) (*url.URL, error) {
	at := &url.URL{}
	_, err := toolscache.ToListerWithContext(lw).ListWithContext(context.WithValue(context.Background(), probed{}, at), metav1.ListOptions{})
	if at.Path == "" {
		return nil, fmt.Errorf("record the list request of controller-runtime: %w", err)
	}
	return at, nil
}
