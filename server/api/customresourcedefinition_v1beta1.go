package api

import (
	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apiextensionsv1beta1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1beta1"
)

type definitionBeta = apiextensionsv1beta1.CustomResourceDefinition

// storedDefinition is the version in which upstream's API server stores definitions, in JSON.
func storedDefinition() Version {
	v := typed[definitionBeta, apiextensionsv1beta1.CustomResourceDefinitionList]("apiextensions.k8s.io", "v1beta1")
	v.ToHub = func(obj Object) (Object, error) {
		beta, hub := obj.DeepCopyObject().(*definitionBeta), &definition{}
		apiextensionsv1beta1.SetObjectDefaults_CustomResourceDefinition(beta)
		internal := &apiextensions.CustomResourceDefinition{}
		if err := apiextensionsv1beta1.Convert_v1beta1_CustomResourceDefinition_To_apiextensions_CustomResourceDefinition(beta, internal, nil); err != nil {
			return nil, err
		}
		return hub, apiextensionsv1.Convert_apiextensions_CustomResourceDefinition_To_v1_CustomResourceDefinition(internal, hub, nil)
	}
	return v
}
